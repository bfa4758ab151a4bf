//! Who is who: signed tokens, one-use tickets, and the list of those who signed out.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use cookie::{Cookie, CookieJar, Key};
use futures::future::try_join_all;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{User, credentials::COOKIE};
use crate::{
    api::ApiError,
    bus::{BusError, SharedBus},
    realtime::{close::reason, server::now_ms},
};

/// A session that is not used for this long has to be made anew.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A ticket travels in an address, and addresses end up in logs: it is short-lived and works once.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// Unused tickets at a time; more than honest clients ever hold within 30 s.
const TICKETS: usize = 10_000;
/// What the keys of all who signed out begin with.
const SIGNED_OUT: &str = "session/signed_out/";

/// A valid session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    #[serde(rename = "s")]
    pub id: Uuid,
    #[serde(rename = "u", with = "user_fields")]
    pub user: User,
    /// Unix milliseconds.
    #[serde(rename = "e")]
    pub expires: u64,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSession {
    /// The request carried nothing.
    None,
    /// What it carried is not valid (any more): tampered with, too old, signed with another secret.
    Expired,
    SignedOut,
}

/// Resolves when a session ends; all connections of a session share it.
pub type SessionEnd = Arc<CancellationToken>;

/// All that the server knows of sessions. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    key: Key,
    bus: SharedBus,
    /// A std mutex: it is held for map operations only.
    state: Mutex<Known>,
}

/// Why the sessions cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Secret(#[from] io::Error),
    #[error(transparent)]
    SignedOut(#[from] BusError),
}

struct Known {
    /// Sessions that signed out, and when the last of their tokens expires.
    signed_out: HashMap<Uuid, u64>,
    tickets: HashMap<String, (Session, u64)>,
    /// Sessions with open connections.
    ends: HashMap<Uuid, Weak<CancellationToken>>,
}

impl Sessions {
    /// Reads who signed out. `secret` signs the tokens; without it one is made once and kept in the data folder, which the
    /// bus holds for this process alone.
    pub async fn open(
        bus: SharedBus,
        data_dir: &Path,
        secret: Option<&str>,
    ) -> Result<Self, OpenError> {
        let key = match secret {
            // A hash, so that a secret of any length fills the key.
            Some(secret) => Key::from(&Sha512::digest(secret)),
            None => Key::from(&kept_secret(&data_dir.join("secret"))?),
        };
        let now = now_ms();
        let (mut signed_out, mut over) = (HashMap::new(), vec![]);
        for (key, until) in bus.latest(SIGNED_OUT).await? {
            match signed_out_entry(&key, &until).filter(|(_, until)| *until > now) {
                Some((id, until)) => drop(signed_out.insert(id, until)),
                // No token of that session counts any more, whoever holds it.
                None => over.push(bus.put_latest(&key, Bytes::new())),
            }
        }
        try_join_all(over).await?;
        let known = Known {
            signed_out,
            tickets: HashMap::new(),
            ends: HashMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            key,
            bus,
            state: Mutex::new(known),
        })))
    }

    /// A new guest with a name of their own.
    pub fn guest(&self) -> Session {
        let user = User::new(Uuid::new_v4(), guest_name());
        Session {
            id: Uuid::new_v4(),
            user,
            expires: expiry(),
        }
    }

    /// The token: the session as JSON in base64, signed (HMAC-SHA-256).
    pub fn token(&self, session: &Session) -> String {
        let json = serde_json::to_vec(session).unwrap_or_default();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.0.key)
            .add(Cookie::new(COOKIE, BASE64_URL_SAFE_NO_PAD.encode(json)));
        jar.get(COOKIE)
            .map(|cookie| cookie.value().to_owned())
            .unwrap_or_default()
    }

    /// Reads a token back, or says why it counts for nothing.
    pub fn verify(&self, token: &str) -> Result<Session, NoSession> {
        let jar = CookieJar::new();
        let signed = jar
            .signed(&self.0.key)
            .verify(Cookie::new(COOKIE, token.to_owned()));
        let json = signed.and_then(|cookie| BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok());
        let session: Option<Session> = json.and_then(|json| serde_json::from_slice(&json).ok());
        let session = session
            .filter(|session| session.expires > now_ms())
            .ok_or(NoSession::Expired)?;
        if self.known().signed_out.contains_key(&session.id) {
            Err(NoSession::SignedOut)
        } else {
            Ok(session)
        }
    }

    /// A ticket for one use within [`TICKET_LIFETIME`], for clients that can send neither cookie nor header.
    pub fn ticket(&self, session: Session) -> Result<String, ApiError> {
        let mut known = self.known();
        let now = now_ms();
        if known.tickets.len() >= TICKETS {
            known.tickets.retain(|_, (_, expires)| *expires > now);
        }
        if known.tickets.len() >= TICKETS {
            return Err(ApiError::too_many(
                "Too many tickets wait to be used.",
                TICKET_LIFETIME.as_secs(),
            ));
        }
        let ticket = format!("{:032x}", rand::random::<u128>());
        known.tickets.insert(
            ticket.clone(),
            (session, now + TICKET_LIFETIME.as_millis() as u64),
        );
        Ok(ticket)
    }

    /// Uses a ticket up.
    pub fn redeem(&self, ticket: &str) -> Result<Session, NoSession> {
        let mut known = self.known();
        let (session, expires) = known.tickets.remove(ticket).ok_or(NoSession::Expired)?;
        if expires <= now_ms() {
            Err(NoSession::Expired)
        } else if known.signed_out.contains_key(&session.id) {
            Err(NoSession::SignedOut)
        } else {
            Ok(session)
        }
    }

    /// Ends a session: once this is on disk, all of its tokens are refused, its sockets and private streams end.
    pub async fn sign_out(&self, session: &Session) -> Result<(), BusError> {
        let (this, id) = (self.clone(), session.id);
        // A task of its own: whoever asks and does not wait has signed out all the same.
        let recorded = tokio::spawn(async move {
            // Not when this token expires: a younger one of the same session may live on until then.
            let until = expiry();
            let value = Bytes::from(until.to_string());
            let key = format!("{SIGNED_OUT}{id}");
            this.0.bus.put_latest(&key, value).await?;
            this.known().sign_out(id, until);
            Ok(())
        });
        recorded.await.unwrap_or(Err(BusError::Closed))
    }

    /// What connections of a session watch.
    pub fn end_of(&self, session: &Session) -> SessionEnd {
        let mut known = self.known();
        if let Some(end) = known.ends.get(&session.id).and_then(Weak::upgrade) {
            return end;
        }
        if known.ends.len() == known.ends.capacity() {
            known.ends.retain(|_, end| end.strong_count() > 0);
        }
        let end = SessionEnd::default();
        if known.signed_out.contains_key(&session.id) {
            end.cancel();
        }
        known.ends.insert(session.id, Arc::downgrade(&end));
        end
    }

    /// A panic while the lock was held leaves every map whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn sign_out(&mut self, id: Uuid, until: u64) {
        if self.signed_out.len() == self.signed_out.capacity() {
            let now = now_ms();
            self.signed_out.retain(|_, until| *until > now);
        }
        self.signed_out.insert(id, until);
        if let Some(end) = self.ends.remove(&id).and_then(|end| end.upgrade()) {
            end.cancel();
        }
    }
}

impl NoSession {
    /// The reason that goes with close code 4001.
    pub fn close_reason(self) -> &'static str {
        match self {
            Self::None => reason::NONE,
            Self::Expired => reason::EXPIRED,
            Self::SignedOut => reason::SIGNED_OUT,
        }
    }
}

impl Session {
    /// Resolves with the reason when this session ends.
    pub async fn ended(&self, end: SessionEnd) -> &'static str {
        let left = Duration::from_millis(self.expires.saturating_sub(now_ms()));
        tokio::select! {
            () = end.cancelled() => reason::SIGNED_OUT,
            () = tokio::time::sleep(left) => reason::EXPIRED,
        }
    }
}

/// When a session that is used now expires, in Unix milliseconds.
pub fn expiry() -> u64 {
    now_ms() + LIFETIME.as_millis() as u64
}

/// 64 random bytes, made once; readable by the owner alone.
fn kept_secret(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(secret) if secret.len() >= 64 => return Ok(secret),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "the kept secret was cut short; a new one ends all sessions")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = Key::generate().master().to_vec();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    Ok(secret)
}

fn signed_out_entry(key: &str, until: &[u8]) -> Option<(Uuid, u64)> {
    let id = key.strip_prefix(SIGNED_OUT)?.parse().ok()?;
    let until = std::str::from_utf8(until).ok()?.parse().ok()?;
    Some((id, until))
}

fn guest_name() -> String {
    const FIRST: [&str; 12] = [
        "Amber", "Brisk", "Calm", "Clever", "Gentle", "Lucky", "Mellow", "Nimble", "Quiet",
        "Sunny", "Swift", "Witty",
    ];
    const SECOND: [&str; 12] = [
        "Badger", "Falcon", "Finch", "Gecko", "Heron", "Lynx", "Marten", "Otter", "Panda", "Raven",
        "Seal", "Wren",
    ];
    let mut random = rand::rng();
    let mut pick = |names: &[&'static str]| names.choose(&mut random).copied().unwrap_or_default();
    format!("{} {}", pick(&FIRST), pick(&SECOND))
}

/// A token carries id and name; the colour follows from the id.
mod user_fields {
    use super::*;

    pub fn serialize<S: serde::Serializer>(user: &User, serializer: S) -> Result<S::Ok, S::Error> {
        (user.id, &user.name).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<User, D::Error> {
        let (id, name) = <(Uuid, String)>::deserialize(deserializer)?;
        Ok(User::new(id, name))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::bus::embedded::Embedded;

    /// The sessions of a server that starts on a folder.
    async fn sessions(folder: &TempDir) -> Sessions {
        let bus = Arc::new(Embedded::open(folder.path()).unwrap());
        Sessions::open(bus, folder.path(), None).await.unwrap()
    }

    /// Those of the next one, when the first has left.
    async fn restarted(sessions: &Sessions, folder: &TempDir) -> Sessions {
        sessions.0.bus.close().await;
        self::sessions(folder).await
    }

    #[tokio::test]
    async fn a_token_is_read_back_after_a_restart_and_no_other_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder).await;
        let session = first.guest();
        let token = first.token(&session);
        let second = restarted(&first, &folder).await;
        assert_eq!(second.verify(&token), Ok(session));
        for index in 0..token.len() {
            let mut tampered = token.clone().into_bytes();
            tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            assert_eq!(
                second.verify(&tampered),
                Err(NoSession::Expired),
                "byte {index}"
            );
        }
    }

    #[tokio::test]
    async fn an_old_session_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let session = Session {
            expires: now_ms() - 1,
            ..sessions.guest()
        };
        assert_eq!(
            sessions.verify(&sessions.token(&session)),
            Err(NoSession::Expired)
        );
    }

    #[tokio::test]
    async fn signing_out_holds_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder).await;
        let (gone, kept) = (first.guest(), first.guest());
        let end = first.end_of(&gone);
        first.sign_out(&gone).await.unwrap();
        assert!(end.is_cancelled());
        let second = restarted(&first, &folder).await;
        assert_eq!(
            second.verify(&first.token(&gone)),
            Err(NoSession::SignedOut)
        );
        assert_eq!(second.verify(&first.token(&kept)), Ok(kept));
    }

    #[tokio::test]
    async fn signing_out_with_an_old_token_ends_the_renewed_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder).await;
        let renewed = first.guest();
        // Over by the time of the restart.
        let old = Session {
            expires: now_ms(),
            ..renewed.clone()
        };
        first.sign_out(&old).await.unwrap();
        let second = restarted(&first, &folder).await;
        assert_eq!(
            second.verify(&first.token(&renewed)),
            Err(NoSession::SignedOut)
        );
    }

    #[tokio::test]
    async fn sign_outs_are_forgotten_once_no_token_can_be_valid() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder).await;
        let (over, lasts) = (first.guest().id, first.guest());
        let put = |key: String, value: String| first.0.bus.put_latest(&key, value.into());
        let until = (now_ms() - 1).to_string();
        put(format!("{SIGNED_OUT}{over}"), until).await.unwrap();
        first.sign_out(&lasts).await.unwrap();
        let second = restarted(&first, &folder).await;
        let kept = second.0.bus.latest(SIGNED_OUT).await.unwrap();
        let keys: Vec<_> = kept.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [format!("{SIGNED_OUT}{}", lasts.id)]);
    }

    #[tokio::test]
    async fn a_sign_out_that_cannot_be_recorded_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let session = sessions.guest();
        sessions.0.bus.close().await;
        assert_eq!(sessions.sign_out(&session).await, Err(BusError::Closed));
        assert_eq!(sessions.verify(&sessions.token(&session)), Ok(session));
    }

    #[tokio::test]
    async fn a_ticket_works_once() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let session = sessions.guest();
        let ticket = sessions.ticket(session.clone()).unwrap();
        assert_eq!(sessions.redeem(&ticket), Ok(session));
        assert_eq!(sessions.redeem(&ticket), Err(NoSession::Expired));
    }

    #[tokio::test]
    async fn a_ticket_is_refused_after_its_lifetime() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder).await;
        let ticket = sessions.ticket(sessions.guest()).unwrap();
        // The clock cannot be turned, so the ticket is made older by its lifetime.
        sessions.known().tickets.get_mut(&ticket).unwrap().1 -= TICKET_LIFETIME.as_millis() as u64;
        assert_eq!(sessions.redeem(&ticket), Err(NoSession::Expired));
    }
}
