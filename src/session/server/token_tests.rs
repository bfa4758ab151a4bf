//! Tests of tokens, tickets, renaming and signing out.

use futures::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::bus::embedded::Embedded;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a token where an expired session is refused.
fn verify(sessions: &Sessions, token: &str) -> Result<Session, NoSession> {
    let session = sessions.read(token)?;
    session
        .is_valid()
        .then_some(session)
        .ok_or(NoSession::Expired)
}

/// The sessions of a server that starts on a folder.
async fn sessions(folder: &TempDir) -> Sessions {
    let bus = Arc::new(Embedded::open(folder.path()).unwrap());
    Sessions::open(bus, folder.path(), None, DAY).await.unwrap()
}

/// The sessions of the next server on the folder, when the first has shut down.
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
    assert_eq!(verify(&second, &token), Ok(session));
    for index in 0..token.len() {
        let mut tampered = token.clone().into_bytes();
        tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        assert_eq!(
            verify(&second, &tampered),
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
        verify(&sessions, &sessions.token(&session)),
        Err(NoSession::Expired)
    );
}

#[tokio::test]
async fn an_expired_session_can_be_renewed_for_thirty_days() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = sessions(&folder).await;
    let expired = |days: u32| Session {
        expires: now_ms() - (DAY * days).as_millis() as u64 + 60_000,
        ..sessions.guest()
    };
    let (late, too_late) = (expired(30), expired(31));
    assert_eq!(sessions.read(&sessions.token(&late)), Ok(late.clone()));
    let renewed = sessions.prolonged(late.clone());
    assert!(renewed.is_valid());
    assert_eq!((renewed.id, &renewed.user), (late.id, &late.user));
    assert_eq!(
        sessions.read(&sessions.token(&too_late)),
        Err(NoSession::Expired)
    );
}

#[tokio::test]
async fn a_sign_out_outlasts_every_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let first = sessions(&folder).await;
    // Issued when sessions lived longer than they do now.
    let session = Session {
        expires: now_ms() + (DAY * 90).as_millis() as u64,
        ..first.guest()
    };
    first.sign_out(&session).await.unwrap();
    let until = first.known().signed_out[&session.id];
    assert!(until >= session.expires + RENEWABLE_FOR.as_millis() as u64);
    let second = restarted(&first, &folder).await;
    assert_eq!(
        second.read(&first.token(&session)),
        Err(NoSession::SignedOut)
    );
}

#[tokio::test]
async fn every_token_of_a_session_stands_for_the_new_name_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = sessions(&folder).await;
    let session = first.guest();
    let old_token = first.token(&session);
    let (socket, stream) = (first.watch(&session), first.watch(&session));
    let renamed = first.rename(session.clone(), "Ada 🦀").await.unwrap();
    assert_eq!((renamed.id, renamed.user.id), (session.id, session.user.id));
    assert_eq!(socket.ended_or_renamed().await, "expired");
    assert!(
        stream.ended().now_or_never().is_none(),
        "a stream shows no name, and goes on"
    );
    for sessions in [&first, &restarted(&first, &folder).await] {
        assert_eq!(verify(sessions, &old_token).unwrap().user.name, "Ada 🦀");
        let under_the_old_name = sessions.watch(&session);
        assert_eq!(under_the_old_name.ended_or_renamed().await, "expired");
        let under_the_new_name = sessions.watch(&renamed);
        assert!(
            under_the_new_name
                .ended_or_renamed()
                .now_or_never()
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_connection_ends_when_its_session_expires() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = sessions(&folder).await;
    let session = Session {
        expires: now_ms() + 50,
        ..sessions.guest()
    };
    assert_eq!(sessions.watch(&session).ended().await, "expired");
    assert!(!session.is_valid());
}

#[tokio::test]
async fn signing_out_holds_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = sessions(&folder).await;
    let (gone, kept) = (first.guest(), first.guest());
    let watch = first.watch(&gone);
    first.sign_out(&gone).await.unwrap();
    assert_eq!(watch.ended().await, "signed_out");
    assert_eq!(first.watch(&gone).ended().await, "signed_out");
    let second = restarted(&first, &folder).await;
    assert_eq!(
        verify(&second, &first.token(&gone)),
        Err(NoSession::SignedOut)
    );
    assert_eq!(verify(&second, &first.token(&kept)), Ok(kept));
}

#[tokio::test]
async fn signing_out_with_an_old_token_ends_the_renewed_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let first = sessions(&folder).await;
    let renewed = first.guest();
    // Expired by the time of the restart.
    let old = Session {
        expires: now_ms(),
        ..renewed.clone()
    };
    first.sign_out(&old).await.unwrap();
    let second = restarted(&first, &folder).await;
    assert_eq!(
        verify(&second, &first.token(&renewed)),
        Err(NoSession::SignedOut)
    );
}

#[tokio::test]
async fn sign_outs_are_dropped_once_no_token_can_be_valid() {
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
async fn a_sign_out_that_cannot_be_recorded_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = sessions(&folder).await;
    let session = sessions.guest();
    sessions.0.bus.close().await;
    assert_eq!(sessions.sign_out(&session).await, Err(BusError::Closed));
    assert_eq!(verify(&sessions, &sessions.token(&session)), Ok(session));
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
