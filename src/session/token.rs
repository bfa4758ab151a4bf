//! Who is who: signed tokens, one-use tickets, and the list of those who signed out.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cookie::{Cookie, CookieJar, Key};
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{User, credentials::COOKIE};
use crate::{
    api::ApiError,
    realtime::{close::reason, server::now_ms},
};

/// A session that is not used for this long has to be made anew.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A ticket travels in an address, and addresses end up in logs: it is short-lived and works once.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// Unused tickets at a time; more than honest clients ever hold within 30 s.
const TICKETS: usize = 10_000;

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
    /// A std mutex: it is held for map operations, and for one short write when somebody signs out.
    state: Mutex<Known>,
}

struct Known {
    /// Sessions that signed out and when they would have expired.
    signed_out: HashMap<Uuid, u64>,
    file: File,
    tickets: HashMap<String, (Session, u64)>,
    /// Sessions with open connections.
    ends: HashMap<Uuid, Weak<CancellationToken>>,
}

impl Sessions {
    /// Opens the list of those who signed out in the data folder. `secret` signs the tokens; without it one is made once
    /// and kept beside the list.
    pub fn open(data_dir: &Path, secret: Option<&str>) -> io::Result<Self> {
        let key = match secret {
            // A hash, so that a secret of any length fills the key.
            Some(secret) => Key::from(&Sha512::digest(secret)),
            None => Key::from(&kept_secret(&data_dir.join("secret"))?),
        };
        let path = data_dir.join("signed-out");
        let listed = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let now = now_ms();
        // A line that was cut by a crash belongs to a sign-out that was never answered.
        let signed_out: HashMap<Uuid, u64> = listed
            .lines()
            .filter_map(signed_out_line)
            .filter(|entry| entry.1 > now)
            .collect();
        let mut file = File::create(&path)?;
        for (id, expires) in &signed_out {
            writeln!(file, "{id} {expires}")?;
        }
        file.sync_data()?;
        let known = Known {
            signed_out,
            file,
            tickets: HashMap::new(),
            ends: HashMap::new(),
        };
        Ok(Self(Arc::new(Inner {
            key,
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

    /// Ends a session: its token is refused from now on, its sockets and private streams end.
    pub fn sign_out(&self, session: &Session) -> io::Result<()> {
        let mut known = self.known();
        writeln!(known.file, "{} {}", session.id, session.expires)?;
        known.file.sync_data()?;
        known.signed_out.insert(session.id, session.expires);
        if let Some(end) = known.ends.remove(&session.id).and_then(|end| end.upgrade()) {
            end.cancel();
        }
        Ok(())
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

fn signed_out_line(line: &str) -> Option<(Uuid, u64)> {
    let (id, expires) = line.split_once(' ')?;
    Some((id.parse().ok()?, expires.parse().ok()?))
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
    use super::*;

    fn sessions(folder: &tempfile::TempDir) -> Sessions {
        Sessions::open(folder.path(), None).unwrap()
    }

    #[test]
    fn a_token_is_read_back_after_a_restart_and_no_other_is() {
        let folder = tempfile::tempdir().unwrap();
        let session = sessions(&folder).guest();
        let token = sessions(&folder).token(&session);
        assert_eq!(sessions(&folder).verify(&token), Ok(session));
        for index in 0..token.len() {
            let mut tampered = token.clone().into_bytes();
            tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            assert_eq!(
                sessions(&folder).verify(&tampered),
                Err(NoSession::Expired),
                "byte {index}"
            );
        }
    }

    #[test]
    fn an_old_session_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder);
        let session = Session {
            expires: now_ms() - 1,
            ..sessions.guest()
        };
        assert_eq!(
            sessions.verify(&sessions.token(&session)),
            Err(NoSession::Expired)
        );
    }

    #[test]
    fn signing_out_holds_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = sessions(&folder);
        let (gone, kept) = (first.guest(), first.guest());
        let end = first.end_of(&gone);
        first.sign_out(&gone).unwrap();
        assert!(end.is_cancelled());
        let second = sessions(&folder);
        assert_eq!(
            second.verify(&first.token(&gone)),
            Err(NoSession::SignedOut)
        );
        assert_eq!(second.verify(&first.token(&kept)), Ok(kept));
    }

    #[test]
    fn a_ticket_works_once() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder);
        let session = sessions.guest();
        let ticket = sessions.ticket(session.clone()).unwrap();
        assert_eq!(sessions.redeem(&ticket), Ok(session));
        assert_eq!(sessions.redeem(&ticket), Err(NoSession::Expired));
    }

    #[test]
    fn a_ticket_is_refused_after_its_lifetime() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = sessions(&folder);
        let ticket = sessions.ticket(sessions.guest()).unwrap();
        // The clock cannot be turned, so the ticket is made older by its lifetime.
        sessions.known().tickets.get_mut(&ticket).unwrap().1 -= TICKET_LIFETIME.as_millis() as u64;
        assert_eq!(sessions.redeem(&ticket), Err(NoSession::Expired));
    }
}
