//! Uploads a file that the user chose or dropped, and shows how much of it is sent. Without JavaScript the browser
//! submits the form itself.

use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use leptos::{
    ev::{DragEvent, SubmitEvent},
    html,
    prelude::*,
    task::spawn_local,
};
use leptos_router::{NavigateOptions, hooks::use_navigate};
use uuid::Uuid;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{File, FormData, ProgressEvent, XmlHttpRequest};

use super::list::own_jobs;
use crate::{
    progress::message::UPLOAD_ROUTE,
    ui::{bidi::isolated, forms::refused_before, numbers::fixed, one_press::one_press},
    web::error::ApiError,
};
use realtime::{
    client::{live_text, text_content},
    json::decode,
};

/// The interval of the checks whether the job exists yet, in milliseconds.
const CHECK_INTERVAL_MS: u32 = 100;

/// The state of an upload.
#[derive(Clone, Debug, Default, PartialEq)]
enum Upload {
    #[default]
    None,
    /// `sent` of `total` bytes are sent.
    Sending {
        name: String,
        sent: f64,
        total: f64,
    },
    Refused(String),
}

#[component]
pub(super) fn UploadForm() -> impl IntoView {
    let upload = RwSignal::new(Upload::None);
    let dragged = RwSignal::new(false);
    let chosen = NodeRef::<html::Input>::new();
    let before = refused_before(UPLOAD_ROUTE);
    let refusal = move || match upload.get() {
        Upload::Refused(words) => Some(words),
        Upload::None => before.get().map(|refused| refused.error),
        Upload::Sending { .. } => None,
    };
    let navigate = use_navigate();
    let open: Rc<dyn Fn(Uuid)> =
        Rc::new(move |id| navigate(&format!("/progress/{id}"), NavigateOptions::default()));
    let submit = {
        let open = open.clone();
        move |event: SubmitEvent| {
            event.prevent_default();
            let file = chosen
                .get_untracked()
                .and_then(|input| input.files()?.get(0));
            match file {
                Some(file) => send(&file, upload, open.clone()),
                None => upload.set(Upload::Refused(
                    "Choose a file first, or drop one here.".into(),
                )),
            }
        }
    };
    let drop = move |event: DragEvent| {
        event.prevent_default();
        dragged.set(false);
        let files = event.data_transfer().and_then(|data| data.files());
        if let Some(file) = files.and_then(|files| files.get(0)) {
            send(&file, upload, open.clone());
        }
    };
    let over = move |event: DragEvent| {
        // Without this the browser would open the file.
        event.prevent_default();
        dragged.set(true);
    };
    let sending = move || matches!(upload.get(), Upload::Sending { .. });
    view! {
        <p class="quiet">"The file is hashed, counted and compressed while it arrives. It is never stored."</p>
        <form class="stack drop" method="post" action=UPLOAD_ROUTE enctype="multipart/form-data" data-test="upload-form"
            data-dragged=move || dragged.get().then_some("") on:submit=submit on:drop=drop on:dragover=over
            on:dragleave=move |_| dragged.set(false)>
            <label>"File, or drop one here"
                <input type="file" name="file" required=true node_ref=chosen aria-describedby="upload-refusal" data-test="file"/>
            </label>
            <button type="submit" data-test="upload" disabled=sending on:click=one_press(move || is_sending(upload))>"Send it"</button>
            {move || match upload.get() {
                Upload::Sending { name, sent, total } => Some(view! {
                    <p class="sending" data-test="sending-file">
                        <progress max=fixed(total.max(1.0), 0) value=fixed(sent, 0) aria-label=format!("Sending {name}")></progress>
                        <span {..text_content(format!("Sending {}, {} %", isolated(&name), fixed(100.0 * sent / total.max(1.0), 0)))}></span>
                    </p>
                }),
                Upload::None | Upload::Refused(_) => None,
            }}
            <output {..live_text(refusal)} id="upload-refusal" class="refusal" data-test="upload-refusal"></output>
        </form>
    }
}

/// Uploads a file under an id that the client chooses, and opens its job as soon as the server has it. Only one upload
/// runs at a time: a second file, dropped meanwhile, would overwrite the state of the first.
fn send(file: &File, upload: RwSignal<Upload>, open: Rc<dyn Fn(Uuid)>) {
    if is_sending(upload) {
        return;
    }
    let (id, name, total) = (Uuid::new_v4(), file.name(), file.size());
    let Ok(request) = begin(id, file) else {
        return upload.set(Upload::Refused("This browser cannot send the file.".into()));
    };
    upload.set(Upload::Sending {
        name,
        sent: 0.0,
        total,
    });
    let on_progress = Closure::<dyn FnMut(ProgressEvent)>::new(move |event: ProgressEvent| {
        let _ = upload.try_update(|upload| {
            if let Upload::Sending { sent, total, .. } = upload {
                // The count includes the form's own bytes.
                *sent = event.loaded().min(*total);
            }
        });
    });
    if let Ok(sending) = request.upload() {
        sending.set_onprogress(Some(on_progress.as_ref().unchecked_ref()));
    }
    let ended = request.clone();
    let on_end = Closure::once_into_js(move || {
        drop(on_progress);
        let _ = upload.try_set(outcome(&ended));
    });
    request.set_onloadend(Some(on_end.unchecked_ref()));
    spawn_local(async move {
        // An upload is answered when all of it has arrived; its job exists much sooner.
        while is_sending(upload) {
            // A user who has left the page meanwhile is not taken back to it.
            if exists(id).await && upload.try_get_untracked().is_some() {
                return open(id);
            }
            TimeoutFuture::new(CHECK_INTERVAL_MS).await;
        }
        // A small file may be uploaded before the first check.
        if upload.try_get_untracked() == Some(Upload::None) {
            open(id);
        }
    });
}

fn begin(id: Uuid, file: &File) -> Result<XmlHttpRequest, JsValue> {
    let form = FormData::new()?;
    form.append_with_blob_and_filename("file", file, &file.name())?;
    let request = XmlHttpRequest::new()?;
    let size = fixed(file.size(), 0);
    request.open("POST", &format!("{UPLOAD_ROUTE}?id={id}&size={size}"))?;
    request.send_with_opt_form_data(Some(&form))?;
    Ok(request)
}

fn outcome(request: &XmlHttpRequest) -> Upload {
    match request.status().unwrap_or(0) {
        200 => Upload::None,
        0 => Upload::Refused("The upload broke off. Send the file again.".into()),
        status => {
            let answer = request.response_text().ok().flatten().unwrap_or_default();
            let error = decode::<ApiError>(&answer).map(|error| error.error);
            Upload::Refused(error.unwrap_or_else(|_| format!("The server answers {status}.")))
        }
    }
}

fn is_sending(upload: RwSignal<Upload>) -> bool {
    matches!(upload.try_get_untracked(), Some(Upload::Sending { .. }))
}

/// Whether the job is in the list. A request for a job that does not exist yet would be an error, and browsers report
/// errors.
async fn exists(id: Uuid) -> bool {
    own_jobs()
        .await
        .is_some_and(|jobs| jobs.iter().any(|job| job.id.value() == id))
}
