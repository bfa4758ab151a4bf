//! Asks the other nodes for a connection that is not open here: behind a load balancer the request of a page may reach
//! another node than its connection.

use bytes::Bytes;
use realtime::server::registry::ExpiredHistory;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::{Answer, Asked, Inspected};
use crate::bus::{Question, SharedBus, announcement};

/// The subject of the questions and of the announcements.
const SUBJECT: &str = "connections";

/// What one node asks the others.
#[derive(Serialize, Deserialize)]
struct Envelope {
    user_id: Uuid,
    connection: String,
    asked: Asked,
}

/// What nodes tell each other of expired histories: a client may resume at any of them, and once.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Announcement {
    Expired { history: ExpiredHistory },
    Answered { history: ExpiredHistory },
}

/// Asks the node at which a connection is open. `None` if there is none.
pub async fn ask(bus: &SharedBus, user_id: Uuid, connection: &str, asked: Asked) -> Option<Answer> {
    let envelope = Envelope {
        user_id,
        connection: connection.to_owned(),
        asked,
    };
    let question = serde_json::to_vec(&envelope).ok()?;
    let answer = bus.ask(SUBJECT, question.into()).await?;
    serde_json::from_slice(&answer).ok()
}

/// Tells the other nodes that the next resume in a history is refused.
pub fn announce_expired(bus: &SharedBus, history: ExpiredHistory) {
    announcement::announce(bus, SUBJECT, |_| Announcement::Expired { history });
}

/// Answers the other nodes until the bus is closed. Ends at once on one server.
pub async fn answer_others(inspected: Inspected) {
    let (bus, connections) = (&inspected.bus, inspected.web.realtime.connections());
    if bus.node().is_none() {
        return;
    }
    let (mut questions, mut heard) = (bus.questions(SUBJECT), bus.listen(SUBJECT));
    let mut answered = connections.answered();
    loop {
        tokio::select! {
            question = questions.next() => match question {
                Some(question) => answer(&inspected, question),
                None => return,
            },
            announcement = heard.next() => match announcement {
                Some(bytes) => match announcement::read(&bytes) {
                    Some(Announcement::Expired { history }) => connections.expire(history),
                    Some(Announcement::Answered { history }) => connections.forget_expired(&history),
                    None => {}
                },
                None => return,
            },
            history = answered.recv() => match history {
                Ok(history) => announcement::announce(bus, SUBJECT, |_| Announcement::Answered { history }),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

fn answer(inspected: &Inspected, question: Question) {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&question.bytes) else {
        return;
    };
    let Envelope {
        user_id,
        connection,
        asked,
    } = envelope;
    if let Some(answer) = inspected.here(user_id, &connection, asked)
        && let Ok(answer) = serde_json::to_vec(&answer)
    {
        question.answer(Bytes::from(answer));
    }
}
