//! Takes a file for a checksum: the job reads it while it arrives, and waits in line with the connection held back.

use std::{future::Future, time::Duration};

use axum::{
    Json,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use super::{
    checksum::{Checksum, Piece, STALLED_AFTER},
    job::{Job, NewJob},
    message::{JobKind, Started, UPLOAD_ROUTE},
};
use crate::{
    api::{
        ApiError,
        answer::{Query, back_to_form, wants_page},
    },
    server::AppState,
    session::token::Session,
    settings::in_binary_units,
};

/// What a multipart body holds beside its file: boundaries, heads, a few small fields.
const ENVELOPE_BYTES: u64 = 64 * 1024;
/// Longest name that is shown, in characters.
const NAME_LENGTH: usize = 255;

#[derive(Debug, Deserialize)]
pub struct UploadQuery {
    /// The client's id for the job, so that it can watch it while the upload runs.
    id: Option<String>,
    /// The file's length in bytes, for the bar.
    size: Option<String>,
}

/// `POST /api/jobs/upload`.
pub async fn upload(
    State(state): State<AppState>,
    session: Session,
    headers: HeaderMap,
    Query(query): Query<UploadQuery>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Response {
    let taken = take(&state, &session, &headers, &query, multipart).await;
    match (taken, wants_page(&headers)) {
        (Ok(id), false) => Json(Started { id }).into_response(),
        (Ok(id), true) => Redirect::to(&format!("/progress/{id}")).into_response(),
        (Err(error), false) => error.into_response(),
        (Err(error), true) => back_to_form(&headers, UPLOAD_ROUTE, Some(error)),
    }
}

async fn take(
    state: &AppState,
    session: &Session,
    headers: &HeaderMap,
    query: &UploadQuery,
    multipart: Result<Multipart, MultipartRejection>,
) -> Result<Uuid, ApiError> {
    let (id, total) = query.read()?;
    let most = state.settings.max_upload;
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // At once, rather than after a gigabyte.
    if total.is_some_and(|total| total > most)
        || length.is_some_and(|length| length > most.saturating_add(ENVELOPE_BYTES))
    {
        return Err(too_large(most));
    }
    let mut multipart =
        multipart.map_err(|rejection| ApiError::new(400, format!("{}.", rejection.body_text())))?;
    let field = loop {
        let field = in_time(multipart.next_field()).await?;
        match field.map_err(|error| ApiError::new(400, format!("{}.", error.body_text())))? {
            Some(field) if field.name() == Some("file") => break field,
            Some(_) => {}
            None => {
                return Err(ApiError::field(
                    "file",
                    "Choose a file: the field is called file.",
                ));
            }
        }
    };
    let (task, pieces) = Checksum::new(base_name(field.file_name().unwrap_or_default()));
    let new = NewJob {
        id,
        kind: JobKind::Checksum,
        owner: session.user.id,
        total,
        unit: "bytes",
    };
    let job = state.jobs.start(new, task)?;
    // Dropped with this future when the client goes away: the job then sees an end without the end.
    hand_over(field, &pieces, &job, most).await?;
    Ok(id)
}

/// Hands the file to its job, piece by piece, no faster than the job takes them.
async fn hand_over(
    mut field: Field<'_>,
    pieces: &mpsc::Sender<Piece>,
    job: &Job,
    most: u64,
) -> Result<(), ApiError> {
    let mut bytes = 0;
    loop {
        // First the room, then the read: while the job waits in line, the connection does too.
        let Ok(room) = pieces.reserve().await else {
            return Err(ended(job));
        };
        let chunk = tokio::select! {
            chunk = in_time(field.chunk()) => chunk,
            () = job.cancelled() => return Err(ended(job)),
        };
        let refusal = match chunk.map(|chunk| chunk.map_err(|error| broken(&error.body_text()))) {
            Ok(Ok(Some(chunk))) => {
                bytes += chunk.len() as u64;
                if bytes <= most {
                    room.send(Piece::Bytes(chunk));
                    continue;
                }
                too_large(most)
            }
            Ok(Ok(None)) => {
                room.send(Piece::End);
                return Ok(());
            }
            Ok(Err(refusal)) | Err(refusal) => refusal,
        };
        room.send(Piece::Broken(refusal.error.clone()));
        return Err(refusal);
    }
}

/// Waits for the client no longer than it may be silent.
async fn in_time<T>(what: impl Future<Output = T>) -> Result<T, ApiError> {
    const SECONDS: Duration = STALLED_AFTER;
    let silent = |_| {
        let error = format!(
            "Nothing arrived for {} s, so the upload counts as broken off. Send the file again.",
            SECONDS.as_secs()
        );
        ApiError::new(408, error)
    };
    timeout(SECONDS, what).await.map_err(silent)
}

impl UploadQuery {
    fn read(&self) -> Result<(Uuid, Option<u64>), ApiError> {
        let id = match &self.id {
            None => Uuid::new_v4(),
            Some(id) => id
                .parse()
                .map_err(|_| ApiError::field("id", "The id of a job is a UUID."))?,
        };
        let size = self.size.as_ref().map(|size| {
            let error = "The size of the file is a whole number of bytes.";
            size.parse().map_err(|_| ApiError::field("size", error))
        });
        Ok((id, size.transpose()?))
    }
}

/// Browsers send no folders, but other clients may.
fn base_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let printable = name.chars().filter(|character| !character.is_control());
    printable.take(NAME_LENGTH).collect()
}

fn too_large(most: u64) -> ApiError {
    let error = format!("A file may have up to {} here.", in_binary_units(most));
    ApiError {
        field: Some("file".into()),
        ..ApiError::new(413, error)
    }
}

fn broken(words: &str) -> ApiError {
    ApiError::new(
        400,
        format!("The upload broke off: {words}. Send the file again."),
    )
}

fn ended(job: &Job) -> ApiError {
    let error = match job.is_cancelled() {
        true => "The job was cancelled, so its upload ends here.",
        false => "The job has ended before its upload.",
    };
    ApiError::new(409, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_folders_and_control_characters() {
        assert_eq!(base_name("C:\\fake\\path\\photo.jpg"), "photo.jpg");
        assert_eq!(base_name("/etc/../a\u{1b}[31m.txt"), "a[31m.txt");
        assert_eq!(base_name(""), "");
        assert_eq!(base_name(&"é".repeat(300)).chars().count(), NAME_LENGTH);
    }
}
