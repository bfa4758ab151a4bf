//! The settings of the chat.

use std::time::Duration;

use clap::Args;

use crate::web::server::units::age;

#[derive(Args, Clone, Debug)]
pub struct ChatSettings {
    /// Chat messages older than this are dropped, as in `30d` (`s`, `m`, `h`, `d`, `w`). Without it they are kept for ever.
    #[arg(long = "chat-retention", env = "WIREWISE_CHAT_RETENTION", value_name = "AGE", value_parser = age)]
    pub retention: Option<Duration>,
}
