//! Opens the features and collects their routes. A feature has three lines here: its state, how it is opened, and its
//! `routes()`.

use realtime::server::Drain;

use crate::{
    background::Supervisor,
    bus::SharedBus,
    routes::{OwnAddress, Routes, Web},
    settings::Settings,
};

/// The state of every feature. Cheap to clone.
#[derive(Clone)]
pub struct Features {
    pub ticker: crate::ticker::server::Ticker,
    pub progress: crate::progress::server::Progress,
    pub chat: crate::chat::server::rooms::Chat,
    pub collab: crate::collab::server::boards::Collab,
    /// The feed of the guide's live comparison.
    pub compare: crate::home::server::feed::Feed,
}

impl Features {
    /// Opens every feature. The error is a sentence.
    pub fn open(
        settings: &Settings,
        bus: &SharedBus,
        drain: &Drain,
        background: &Supervisor,
        address: OwnAddress,
    ) -> Result<Self, String> {
        let history = settings.history as usize;
        let (shared, drain, background) = (|| bus.clone(), drain.clone(), || background.clone());
        Ok(Self {
            ticker: crate::ticker::server::Ticker::new(settings.ticker.open_feed()?, history, bus),
            progress: crate::progress::server::Progress::new(
                &settings.progress,
                history,
                shared(),
                drain,
                background(),
                address,
            ),
            chat: crate::chat::server::rooms::Chat::new(shared(), background()),
            collab: crate::collab::server::boards::Collab::new(shared(), background()),
            compare: match bus.node() {
                Some(_) => crate::home::server::feed::Feed::of_cluster(bus.epoch()),
                None => crate::home::server::feed::Feed::default(),
            },
        })
    }

    pub fn routes(&self, web: &Web, settings: &Settings) -> Routes {
        let (web, this) = (|| web.clone(), self.clone());
        Routes::default()
            .merge(crate::ticker::server::routes(web(), this.ticker))
            .merge(crate::progress::server::routes(web(), this.progress))
            .merge(crate::chat::server::routes(
                web(),
                this.chat,
                settings.chat.retention,
            ))
            .merge(crate::collab::server::routes(web(), this.collab))
            .merge(crate::home::server::routes(web(), this.compare))
    }
}
