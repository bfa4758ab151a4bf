//! The guide's page: the parts of it that a visitor uses. Its texts are the server's (`../server/texts`).

pub mod live;
mod measurement;
mod raw;
pub mod series;
pub mod tree;

use leptos::prelude::*;

use self::{live::LiveComparison, tree::DecisionTree};
use super::{INTRODUCTION, TEXTS};
use crate::ui::{
    about::About,
    lazy_page::lazy_page,
    served::{Served, load},
};

// Its texts are fetched with its document, so that no wasm carries them.
lazy_page!(HomePage, guide_page, Home, async || load("/", TEXTS).await);

#[component]
fn Home() -> impl IntoView {
    view! {
        <About title="" description="Server-Sent Events and WebSocket side by side, each where it is right."/>
        <div class="guide">
            <Served id=INTRODUCTION/>
            <LiveComparison/>
            <DecisionTree/>
            <Served id=TEXTS/>
        </div>
    }
}
