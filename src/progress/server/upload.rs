//! Receives a file for a checksum. The job reads the file while it arrives; while the job is queued, the connection is
//! held back.

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
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    job::{Job, NewJob},
    state::Progress,
    tasks::checksum::{Checksum, Piece, STALLED_AFTER},
};
use crate::{
    progress::message::{JobKind, Started, UPLOAD_ROUTE},
    routes::Feature,
    session::server::token::Session,
    web::{
        error::ApiError,
        server::{
            answer::{Query, back_to_form, wants_page},
            units::in_binary_units,
        },
    },
};
use realtime::id::SpelledId;

/// The maximum number of bytes of a multipart body beside its file: boundaries, heads, a few small fields.
const ENVELOPE_BYTES: u64 = 64 * 1024;
/// The bytes a second that must arrive on average while the server waits for them. A slower upload would hold one of
/// the few permits for as long as it likes.
const MIN_BYTES_PER_SECOND: u64 = 1_024;
/// The longest name that is shown, in characters.
const NAME_LENGTH: usize = 255;

#[derive(Debug, Deserialize)]
pub struct UploadQuery {
    /// The client's id for the job, so that the client can watch the job while the upload runs.
    id: Option<String>,
    /// The file's length in bytes, for the bar.
    size: Option<String>,
}

/// `POST /api/jobs/upload`.
pub async fn upload(
    State(Feature { own: progress, .. }): State<Feature<Progress>>,
    session: Session,
    headers: HeaderMap,
    Query(query): Query<UploadQuery>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Response {
    let received = receive(&progress, &session, &headers, &query, multipart).await;
    match (received, wants_page(&headers)) {
        (Ok(id), false) => Json(Started { id }).into_response(),
        (Ok(id), true) => Redirect::to(&format!("/progress/{}", id.value())).into_response(),
        (Err(error), false) => error.into_response(),
        (Err(error), true) => back_to_form(&headers, UPLOAD_ROUTE, Some(error)),
    }
}

async fn receive(
    progress: &Progress,
    session: &Session,
    headers: &HeaderMap,
    query: &UploadQuery,
    multipart: Result<Multipart, MultipartRejection>,
) -> Result<SpelledId, ApiError> {
    let (id, total) = query.read()?;
    let max_bytes = progress.max_upload;
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // Refused at once, rather than after a gigabyte.
    if total.is_some_and(|total| total > max_bytes)
        || length.is_some_and(|length| length > max_bytes.saturating_add(ENVELOPE_BYTES))
    {
        return Err(too_large(max_bytes));
    }
    let mut multipart =
        multipart.map_err(|rejection| ApiError::new(400, format!("{}.", rejection.body_text())))?;
    // All fields before the file share one deadline: with a deadline for each, they could go on for ever.
    let deadline = Instant::now() + STALLED_AFTER;
    let field = loop {
        let field = by_deadline(deadline, multipart.next_field()).await?;
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
        id: id.clone(),
        kind: JobKind::Checksum,
        owner: session.user.id,
        total,
        unit: "bytes",
    };
    if query.id.is_some() {
        progress.jobs.claim_id(id.value()).await?;
    }
    let job = progress.jobs.start(new, task)?;
    progress.jobs.stored(&job).await?;
    // `pieces` is dropped with this future when the client disconnects. The job then sees the pieces end without
    // [`Piece::End`].
    forward(field, &pieces, &job, max_bytes).await?;
    Ok(id)
}

/// Forwards the file to its job, piece by piece, no faster than the job reads it.
async fn forward(
    mut field: Field<'_>,
    pieces: &mpsc::Sender<Piece>,
    job: &Job,
    max_bytes: u64,
) -> Result<(), ApiError> {
    let (mut bytes, mut waited) = (0, Duration::ZERO);
    loop {
        // Reserves capacity before it reads, so that the connection waits while the job is queued.
        let Ok(permit) = pieces.reserve().await else {
            return Err(ended(job));
        };
        let waiting_since = Instant::now();
        let chunk = tokio::select! {
            chunk = by_deadline(waiting_since + STALLED_AFTER, field.chunk()) => chunk,
            () = job.cancelled() => return Err(ended(job)),
        };
        waited += waiting_since.elapsed();
        let refusal = match chunk.map(|chunk| chunk.map_err(|error| broken(&error.body_text()))) {
            Ok(Ok(Some(chunk))) => {
                bytes += chunk.len() as u64;
                if bytes > max_bytes {
                    too_large(max_bytes)
                } else if waited > STALLED_AFTER && bytes < waited.as_secs() * MIN_BYTES_PER_SECOND
                {
                    too_slow()
                } else {
                    permit.send(Piece::Bytes(chunk));
                    continue;
                }
            }
            Ok(Ok(None)) => {
                permit.send(Piece::End);
                return Ok(());
            }
            Ok(Err(refusal)) | Err(refusal) => refusal,
        };
        permit.send(Piece::Broken(refusal.error.clone()));
        return Err(refusal);
    }
}

/// Waits for the client until the deadline; after that the error is a 408.
async fn by_deadline<T>(deadline: Instant, what: impl Future<Output = T>) -> Result<T, ApiError> {
    let silent = |_| {
        let error = format!(
            "Nothing of the file arrived for {} s, so the upload counts as broken off. Send the file again.",
            STALLED_AFTER.as_secs()
        );
        ApiError::new(408, error)
    };
    timeout_at(deadline, what).await.map_err(silent)
}

impl UploadQuery {
    fn read(&self) -> Result<(SpelledId, Option<u64>), ApiError> {
        let id = match &self.id {
            None => Uuid::new_v4().into(),
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

fn too_large(max_bytes: u64) -> ApiError {
    let error = format!("A file may have up to {} here.", in_binary_units(max_bytes));
    ApiError {
        field: Some("file".into()),
        ..ApiError::new(413, error)
    }
}

fn too_slow() -> ApiError {
    let error = format!(
        "Less than {MIN_BYTES_PER_SECOND} bytes a second arrived, so the upload counts as broken off. Send the file again."
    );
    ApiError::new(408, error)
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
    use axum::{
        body::{Body, Bytes},
        extract::{FromRequest, Request},
    };
    use futures::{Stream, StreamExt, stream};

    use std::sync::Arc;

    use realtime::server::Drain;

    use super::*;
    use crate::{
        background::Supervisor,
        bus::{SharedBus, embedded::Embedded},
        progress::server::settings::ProgressSettings,
        routes::OwnAddress,
        session::server::token::Sessions,
    };

    const BOUNDARY: &str = "boundary";

    /// A body that sends these pieces, one in each interval.
    async fn trickle(
        every: Duration,
        pieces: impl Stream<Item = String> + Send + 'static,
    ) -> Multipart {
        let pieces = pieces.then(move |piece| async move {
            tokio::time::sleep(every).await;
            Ok::<_, std::io::Error>(Bytes::from(piece))
        });
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = Request::post("/").header(header::CONTENT_TYPE, content_type);
        let request = request.body(Body::from_stream(pieces)).unwrap();
        Multipart::from_request(request, &()).await.unwrap()
    }

    fn field(name: &str) -> String {
        format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n")
    }

    /// Forwards a file that arrives in such pieces. Returns the outcome, and the time that it took.
    async fn forwarded(
        every: Duration,
        piece: usize,
        pieces: usize,
    ) -> (Result<(), u16>, Duration) {
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let file = stream::iter(std::iter::repeat_n("x".repeat(piece), pieces));
        let body = stream::iter([field("file")]).chain(file);
        let mut multipart = trickle(every, body.chain(stream::iter([tail]))).await;
        let file = multipart.next_field().await.unwrap().unwrap();
        let job = Job::new(
            NewJob {
                id: Uuid::new_v4().into(),
                kind: JobKind::Checksum,
                owner: Uuid::new_v4(),
                total: None,
                unit: "bytes",
            },
            1,
        );
        let (sender, mut receiver) = mpsc::channel(1);
        let reading = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        let started = Instant::now();
        let outcome = forward(file, &sender, &job, u64::MAX).await;
        reading.abort();
        let outcome = outcome.map_err(|error| error.status.unwrap());
        (outcome, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_counts_as_broken_off_and_a_slow_connection_does_not() {
        let second = Duration::from_secs(1);
        let (outcome, after) = forwarded(29 * second, 1, 1_000).await;
        assert_eq!(outcome, Err(408));
        assert!(after < 3 * STALLED_AFTER, "{after:?}");
        assert_eq!(forwarded(second, 2_048, 600).await.0, Ok(()));
        assert_eq!(forwarded(31 * second, 1_000_000, 2).await.0, Err(408));
    }

    #[tokio::test]
    async fn fields_before_the_file_share_one_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
        let lifetime = Duration::from_secs(3_600);
        let sessions = Sessions::open(bus.clone(), folder.path(), None, lifetime);
        let session = sessions.await.unwrap().guest();
        let settings = ProgressSettings {
            max_jobs: 4,
            max_upload: 1 << 30,
        };
        let (drain, background) = (Drain::default(), Supervisor::default());
        let address = OwnAddress::default();
        let progress = Progress::new(&settings, 10, bus, drain, background, address);
        tokio::time::pause();
        let more = stream::iter(0..1_000).map(|number| {
            let end = if number > 0 { "x\r\n" } else { "" };
            format!("{end}{}", field("other"))
        });
        let multipart = trickle(Duration::from_secs(1), more).await;
        let (headers, query) = (
            HeaderMap::new(),
            UploadQuery {
                id: None,
                size: None,
            },
        );
        let started = Instant::now();
        let received = receive(&progress, &session, &headers, &query, Ok(multipart)).await;
        assert_eq!(received.err().unwrap().status, Some(408));
        // The resolution of a timer is a millisecond.
        assert_eq!(started.elapsed().as_secs(), STALLED_AFTER.as_secs());
    }

    #[test]
    fn a_name_is_shown_without_folders_and_control_characters() {
        assert_eq!(base_name("C:\\fake\\path\\photo.jpg"), "photo.jpg");
        assert_eq!(base_name("/etc/../a\u{1b}[31m.txt"), "a[31m.txt");
        assert_eq!(base_name(""), "");
        assert_eq!(base_name(&"é".repeat(300)).chars().count(), NAME_LENGTH);
    }
}
