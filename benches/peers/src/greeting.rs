//! How a client gets ready to receive.

use anyhow::{Result, bail};

use crate::decode::text_frame;

/// What a client says until it is ready to receive.
#[derive(Debug, Clone)]
pub enum Greeting {
    /// It is ready with the first text, which a server sends when it has subscribed the client.
    Wait,
    /// It is ready with the snapshot of a stream of Wirewise: a price that comes before it is part of it.
    Snapshot,
    /// It is ready when a reconnected stream says whether it resumes. Ours has to.
    Resume,
    /// It joins a room of Wirewise where one is named, and is ready when it has joined.
    Wirewise(Option<String>),
    SocketIo,
}

impl Greeting {
    /// Whether the client is ready with this text. Until then it answers as its protocol asks.
    pub fn answer(&self, text: &[u8], reply: &mut Vec<u8>) -> Result<bool> {
        let holds = |part: &str| memchr::memmem::find(text, part.as_bytes()).is_some();
        match self {
            Self::Wait => Ok(true),
            Self::Snapshot => Ok(holds("\"type\":\"snapshot\"")),
            Self::Resume if holds("\"recovered\":false") => bail!("the stream did not resume"),
            Self::Resume => Ok(holds("\"recovered\":true")),
            Self::SocketIo => {
                if text.starts_with(b"0") {
                    reply.extend(text_frame("40"));
                }
                Ok(holds("ready"))
            }
            Self::Wirewise(_) if holds("\"type\":\"error\"") => {
                bail!("the server refused: {}", String::from_utf8_lossy(text))
            }
            Self::Wirewise(None) => Ok(holds("\"type\":\"welcome\"")),
            Self::Wirewise(Some(room)) => {
                if holds("\"type\":\"welcome\"") {
                    let join = serde_json::json!({"type": "join", "room": room});
                    reply.extend(text_frame(&join.to_string()));
                }
                Ok(holds("\"type\":\"joined\""))
            }
        }
    }
}
