//! The progress page: the forms, the user's jobs, and the job that the address names.

mod chart;
mod list;
mod panel;
mod results;
mod start;
mod upload;

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use uuid::Uuid;

use self::{
    list::{JobList, MyJobs},
    panel::{JobPanel, UnknownJob},
    start::StartForms,
};
use crate::ui::{
    about::About,
    erase::Erase,
    icons::{Glyph, Icon},
    lazy_page::lazy_page,
};

lazy_page!(ProgressPage, progress_page, ProgressRoute);

#[component]
fn ProgressRoute() -> impl IntoView {
    let params = use_params_map();
    // `None`: no job in the address. `Some(None)`: an id that cannot exist.
    let job = Memo::new(move |_| {
        params.with(|params| params.get_str("job").map(|job| job.parse::<Uuid>().ok()))
    });
    let mine = MyJobs::new();
    view! {
        <About title="Progress" description="Long tasks over Server-Sent Events: a bar in as many tabs as you like, and nothing lost on a reload."/>
        <div class="columns">
            <div>
                <h1>"Progress"</h1>
                <p class="lead">"A job on the server, and its bar in as many tabs as you like. Reload in the middle: the stream goes on where you were."</p>
                <StartForms/>
                <JobList mine/>
            </div>
            // Rebuilt for another job: each job has its own first state, position and stream.
            <div>{move || match job.get() {
                None => view! { <div class="blank"><Icon glyph=Glyph::Progress/><p class="empty">"No job is selected. Start one, or open one from your list."</p></div> }.erase(),
                Some(None) => view! { <UnknownJob/> }.erase(),
                Some(Some(id)) => view! { <JobPanel id mine/> }.erase(),
            }}</div>
        </div>
    }
}
