//! Carries a mirrored topic of the kit between the nodes of a cluster.

use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use realtime::server::mirror::{CarriedQuestion, Carrier};

use super::SharedBus;

/// Carries the messages of one topic under a subject of its own.
pub struct BusCarrier {
    bus: SharedBus,
    subject: String,
}

impl BusCarrier {
    pub fn new(bus: SharedBus, subject: impl Into<String>) -> Self {
        Self {
            bus,
            subject: subject.into(),
        }
    }
}

impl Carrier for BusCarrier {
    fn publish(&self, message: Bytes) {
        self.bus.announce(&self.subject, message);
    }

    fn subscribe(&self) -> BoxStream<'static, Bytes> {
        let heard = self.bus.listen(&self.subject);
        stream::unfold(heard, async |mut heard| Some((heard.next().await?, heard))).boxed()
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        self.bus.ask(&self.subject, question)
    }

    fn questions(&self) -> BoxStream<'static, CarriedQuestion> {
        let asked = self.bus.questions(&self.subject);
        stream::unfold(asked, async |mut asked| {
            let question = asked.next().await?;
            let carried = CarriedQuestion {
                question: question.bytes.clone(),
                answer: Box::new(|bytes| question.answer(bytes)),
            };
            Some((carried, asked))
        })
        .boxed()
    }
}
