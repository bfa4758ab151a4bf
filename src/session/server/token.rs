//! The store of sessions: signed tokens, one-use tickets, the sessions that signed out, and the names that were chosen.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use cookie::{Cookie, CookieJar, Key};
use futures::future::try_join_all;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha512};
use tokio::sync::watch;
use uuid::Uuid;

use super::watch::{SessionStatus, SessionWatch};
use crate::{
    bus::{BusError, Change, SharedBus},
    session::User,
    web::{error::ApiError, server::cookies::SESSION_COOKIE},
};
use realtime::{close::reason, server::now_ms};

/// After its expiry a session can be renewed for this long: a person who returns late stays the same user.
pub const RENEWABLE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A ticket is sent in an address, and addresses end up in logs: it is short-lived and works once.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);
/// Most unused tickets at a time; more than honest clients ever hold within 30 s.
const TICKETS: usize = 10_000;
/// Prefix of the keys of all sessions that signed out.
const SIGNED_OUT: &str = "session/signed_out/";
/// Prefix of the keys of all chosen names.
const NAMED: &str = "session/named/";

/// A session, as its token contains it.
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

/// A ticket that every server of a cluster can check.
#[derive(Serialize, Deserialize)]
struct SharedTicket {
    ticket: Uuid,
    /// Unix milliseconds.
    until: u64,
    session: Session,
}

/// Why there is no session. Of several reasons the greatest is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoSession {
    /// The request carried no credentials.
    None,
    /// The credentials are not valid (any more): tampered with, too old, signed with another secret.
    Expired,
    SignedOut,
}

/// The store of sessions. Cheap to clone; all clones share their state.
#[derive(Clone)]
pub struct Sessions(Arc<SessionStore>);

struct SessionStore {
    key: Key,
    bus: SharedBus,
    lifetime: Duration,
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

#[derive(Default)]
struct Known {
    /// Sessions that signed out, and until when a token of theirs could be renewed (Unix milliseconds).
    signed_out: HashMap<Uuid, u64>,
    /// Names that were chosen, and until when a token can refer to them (Unix milliseconds). A token that was issued
    /// before the renaming contains the older name and may be renewed after it: a second tab does just that.
    names: HashMap<Uuid, (String, u64)>,
    tickets: HashMap<String, (Session, u64)>,
    /// Sessions with open connections.
    watched: HashMap<Uuid, watch::Sender<SessionStatus>>,
}

impl Sessions {
    /// Reads which sessions signed out and which names were chosen. `secret` signs the tokens; without it one is made
    /// once and kept in the data folder, which the bus holds for this process alone. Sessions made from now on live for
    /// `lifetime`.
    pub async fn open(
        bus: SharedBus,
        data_dir: &Path,
        secret: Option<&str>,
        lifetime: Duration,
    ) -> Result<Self, OpenError> {
        let key = match secret {
            // A hash, so that a secret of any length fills the key.
            Some(secret) => Key::from(&Sha512::digest(secret)),
            None => Key::from(&kept_secret(&data_dir.join("secret"))?),
        };
        let signed_out = read_entries(&bus, SIGNED_OUT).await?;
        let names = read_entries(&bus, NAMED).await?;
        let known = Known {
            signed_out: signed_out.map(|(id, until, _)| (id, until)).collect(),
            names: names.map(|(id, until, name)| (id, (name, until))).collect(),
            ..Known::default()
        };
        Ok(Self(Arc::new(SessionStore {
            key,
            bus,
            lifetime,
            state: Mutex::new(known),
        })))
    }

    /// A session of a new guest with a random name.
    pub fn guest(&self) -> Session {
        let user = User::new(Uuid::new_v4(), guest_name());
        Session {
            id: Uuid::new_v4(),
            user,
            expires: self.expiry(),
        }
    }

    /// The token: the session as JSON in base64, signed (HMAC-SHA-256).
    pub fn token(&self, session: &Session) -> String {
        self.sign(session)
    }

    /// Reads a token back, or returns why it is refused. The session may have expired, as long as it can be renewed.
    pub fn read(&self, token: &str) -> Result<Session, NoSession> {
        let session: Session = self.verify(token).ok_or(NoSession::Expired)?;
        self.known().admit(session)
    }

    fn sign(&self, value: &impl Serialize) -> String {
        let json = serde_json::to_vec(value).unwrap_or_default();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.0.key).add(Cookie::new(
            SESSION_COOKIE,
            BASE64_URL_SAFE_NO_PAD.encode(json),
        ));
        jar.get(SESSION_COOKIE)
            .map(|cookie| cookie.value().to_owned())
            .unwrap_or_default()
    }

    /// Reads what [`Sessions::sign`] wrote. What was signed as one type is not read as another: each has fields that the
    /// others lack.
    fn verify<T: DeserializeOwned>(&self, signed: &str) -> Option<T> {
        let jar = CookieJar::new();
        let cookie = jar
            .signed(&self.0.key)
            .verify(Cookie::new(SESSION_COOKIE, signed.to_owned()))?;
        let json = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// When a session that is created or renewed now expires, in Unix milliseconds.
    pub fn expiry(&self) -> u64 {
        now_ms() + self.0.lifetime.as_millis() as u64
    }

    /// The same session with a new expiry.
    pub fn prolonged(&self, session: Session) -> Session {
        let expires = self.expiry();
        Session { expires, ..session }
    }

    /// Whether a session is in the first half of its lifetime, so that it need not be renewed yet.
    pub fn is_fresh(&self, session: &Session) -> bool {
        session.expires > now_ms() + self.0.lifetime.as_millis() as u64 / 2
    }

    /// How long a browser keeps a token: until it can no longer be renewed.
    pub fn cookie_age(&self) -> Duration {
        self.0.lifetime + RENEWABLE_FOR
    }

    /// A ticket for one use within [`TICKET_LIFETIME`], for clients that can send neither cookie nor header.
    pub fn ticket(&self, session: Session) -> Result<String, ApiError> {
        if self.0.bus.node().is_some() {
            return Ok(self.shared_ticket(session));
        }
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

    /// A ticket that any server of a cluster accepts: the session, signed. The bus sees to it that it works once. It is
    /// spelled with characters that an address takes as they are.
    fn shared_ticket(&self, session: Session) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.sign(&SharedTicket {
            ticket: Uuid::new_v4(),
            until: now_ms() + TICKET_LIFETIME.as_millis() as u64,
            session,
        }))
    }

    fn read_shared_ticket(&self, ticket: &str) -> Option<SharedTicket> {
        let signed = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        self.verify(std::str::from_utf8(&signed).ok()?)
    }

    /// Uses a ticket up, whichever server of a cluster issued it.
    pub async fn redeem_any(&self, ticket: &str) -> Result<Session, NoSession> {
        if self.0.bus.node().is_none() {
            return self.redeem(ticket);
        }
        let shared = self.read_shared_ticket(ticket);
        let shared = shared.ok_or(NoSession::Expired)?;
        if shared.until <= now_ms() {
            return Err(NoSession::Expired);
        }
        let claim = self.0.bus.claim(&format!("ticket/{}", shared.ticket)).await;
        match claim {
            Ok(true) => self.known().admit(shared.session),
            Ok(false) => Err(NoSession::Expired),
            Err(error) => {
                tracing::warn!(%error, "a ticket cannot be claimed, and is refused");
                Err(NoSession::Expired)
            }
        }
    }

    /// Follows what other servers of a cluster record: who signs out, and who has another name. Ends at once on a bus of one
    /// process.
    pub async fn follow_others(self) {
        if self.0.bus.node().is_none() {
            return;
        }
        // Before the values are read, or a change between the two would be missed.
        let mut changes = self.0.bus.changes();
        let mut change = Some(Change::Missed);
        while let Some(changed) = change {
            match changed {
                Change::Value { key, value } => self.apply(&key, &value),
                Change::Missed => self.read_again().await,
            }
            change = changes.next().await;
        }
    }

    async fn read_again(&self) {
        for prefix in [SIGNED_OUT, NAMED] {
            match self.0.bus.latest(prefix).await {
                Ok(values) => values
                    .iter()
                    .for_each(|(key, value)| self.apply(key, value)),
                Err(error) => tracing::error!(%error, "who signed out elsewhere cannot be read"),
            }
        }
    }

    /// Applies a value that was recorded, here or elsewhere.
    fn apply(&self, key: &str, value: &[u8]) {
        let entry = |prefix| parse_entry(key.strip_prefix(prefix)?, value);
        if let Some((id, until, _)) = entry(SIGNED_OUT) {
            self.known().sign_out(id, until);
        } else if let Some((id, until, name)) = entry(NAMED) {
            self.known().rename(id, name, until);
        }
    }

    /// Uses up a ticket that this server issued. The session may have expired, as with [`Sessions::read`].
    pub fn redeem(&self, ticket: &str) -> Result<Session, NoSession> {
        let mut known = self.known();
        let (session, until) = known.tickets.remove(ticket).ok_or(NoSession::Expired)?;
        if until <= now_ms() {
            return Err(NoSession::Expired);
        }
        known.admit(session)
    }

    /// Ends a session: once this is on disk, all of its tokens are refused, its sockets and private streams end.
    pub async fn sign_out(&self, session: &Session) -> Result<(), BusError> {
        let (id, until) = (session.id, self.needed_until(session));
        let value = until.to_string();
        self.record(format!("{SIGNED_OUT}{id}"), value, move |known| {
            known.sign_out(id, until);
        })
        .await
    }

    /// Renames the user of a session. Once this is on disk, all tokens of the session stand for the new name, and its
    /// sockets are closed, so that they reconnect under it.
    pub async fn rename(&self, session: Session, name: &str) -> Result<Session, BusError> {
        let (id, until) = (session.id, self.needed_until(&session));
        let name = name.to_owned();
        let renamed = Session {
            user: User {
                name: name.clone(),
                ..session.user.clone()
            },
            ..session
        };
        let value = format!("{until} {name}");
        self.record(format!("{NAMED}{id}"), value, move |known| {
            known.rename(id, name, until);
        })
        .await?;
        Ok(renamed)
    }

    /// Until when the entries of a session are needed, in Unix milliseconds. That is not when this token can no longer
    /// be renewed: a younger token of the same session may live longer.
    fn needed_until(&self, session: &Session) -> u64 {
        session.expires.max(self.expiry()) + RENEWABLE_FOR.as_millis() as u64
    }

    /// Writes an entry to the bus, then applies it in memory with `then`.
    async fn record(
        &self,
        key: String,
        value: String,
        then: impl FnOnce(&mut Known) + Send + 'static,
    ) -> Result<(), BusError> {
        let this = self.clone();
        // A task of its own: it is completed even if the client does not wait for the answer.
        let recorded = tokio::spawn(async move {
            this.0.bus.put_latest(&key, value.into()).await?;
            then(&mut this.known());
            Ok(())
        });
        recorded.await.unwrap_or(Err(BusError::Closed))
    }

    /// The watch for a connection of a session.
    pub fn watch(&self, session: &Session) -> SessionWatch {
        let mut known = self.known();
        if known.watched.len() == known.watched.capacity() {
            known
                .watched
                .retain(|_, watched| watched.receiver_count() > 0);
        }
        let status = SessionStatus {
            name: known.name_of(session).to_owned(),
            signed_out: known.signed_out.contains_key(&session.id),
        };
        let watched = known.watched.entry(session.id);
        let watched = watched.or_insert_with(|| watch::Sender::new(status));
        SessionWatch::new(
            session.expires,
            session.user.name.clone(),
            watched.subscribe(),
        )
    }

    /// A panic while the lock was held leaves every map intact.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Accepts a session whose token is authentic, under its present name; unless it signed out, or is too old even to
    /// be renewed.
    fn admit(&self, session: Session) -> Result<Session, NoSession> {
        if self.signed_out.contains_key(&session.id) {
            return Err(NoSession::SignedOut);
        }
        if session.expires + RENEWABLE_FOR.as_millis() as u64 <= now_ms() {
            return Err(NoSession::Expired);
        }
        let name = self.name_of(&session).to_owned();
        let user = User {
            name,
            ..session.user
        };
        Ok(Session { user, ..session })
    }

    fn name_of<'a>(&'a self, session: &'a Session) -> &'a str {
        let chosen = self.names.get(&session.id).map(|(name, _)| name);
        chosen.unwrap_or(&session.user.name)
    }

    fn sign_out(&mut self, id: Uuid, until: u64) {
        if self.signed_out.len() == self.signed_out.capacity() {
            let now = now_ms();
            self.signed_out.retain(|_, until| *until > now);
        }
        self.signed_out.insert(id, until);
        self.names.remove(&id);
        if let Some(watched) = self.watched.remove(&id) {
            watched.send_modify(|status| status.signed_out = true);
        }
    }

    fn rename(&mut self, id: Uuid, name: String, until: u64) {
        if self.names.len() == self.names.capacity() {
            let now = now_ms();
            self.names.retain(|_, (_, until)| *until > now);
        }
        if let Some(watched) = self.watched.get(&id) {
            watched.send_modify(|status| status.name.clone_from(&name));
        }
        self.names.insert(id, (name, until));
    }
}

impl NoSession {
    /// The reason that is sent with close code 4001.
    pub fn close_reason(self) -> &'static str {
        match self {
            Self::None => reason::NONE,
            Self::Expired => reason::EXPIRED,
            Self::SignedOut => reason::SIGNED_OUT,
        }
    }
}

impl Session {
    /// Whether the session has not expired.
    pub fn is_valid(&self) -> bool {
        self.expires > now_ms()
    }
}

/// Reads the secret of 64 random bytes, or makes it once; the file is readable by its owner alone.
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

/// The entries of sessions under `prefix`: the session, until when the entry is needed (Unix milliseconds), and the
/// rest of the value. Entries that are no longer needed, because no token of their session can be used, are removed.
async fn read_entries(
    bus: &SharedBus,
    prefix: &str,
) -> Result<impl Iterator<Item = (Uuid, u64, String)> + use<>, BusError> {
    let now = now_ms();
    let (mut entries, mut unneeded) = (vec![], vec![]);
    for (key, value) in bus.latest(prefix).await? {
        let entry = parse_entry(key.strip_prefix(prefix).unwrap_or_default(), &value);
        match entry.filter(|(_, until, _)| *until > now) {
            Some(entry) => entries.push(entry),
            None => unneeded.push(bus.put_latest(&key, Bytes::new())),
        }
    }
    try_join_all(unneeded).await?;
    Ok(entries.into_iter())
}

fn parse_entry(id: &str, value: &[u8]) -> Option<(Uuid, u64, String)> {
    let value = std::str::from_utf8(value).ok()?;
    let (until, rest) = value.split_once(' ').unwrap_or((value, ""));
    Some((id.parse().ok()?, until.parse().ok()?, rest.to_owned()))
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
#[path = "token_tests.rs"]
mod tests;
