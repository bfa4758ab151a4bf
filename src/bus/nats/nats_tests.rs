//! Tests the bus against a real NATS server: order, ids, replicas that join late, restarts and lost tails.

#[path = "../../tests/nats_server.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod nats_server;
#[path = "../../tests/replica_rows.rs"]
#[allow(dead_code, reason = "the torture run uses more of it")]
mod replica_rows;

#[path = "pending_tests.rs"]
mod pending;
#[path = "removal_tests.rs"]
mod removal;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, types::Value};
use tempfile::TempDir;

use self::nats_server::NatsServer;
use super::{super::Change, *};
use crate::bus::{Follower, SharedBus, embedded};

const LOG: &str = "chat/lobby";
/// Far longer than any step here takes; a test that hangs fails after it.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A server, and the data folders of nodes.
struct Cluster {
    server: NatsServer,
    folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats");
        let server = tokio::task::spawn_blocking(move || NatsServer::start(&path));
        Self {
            server: server.await.unwrap(),
            folder,
        }
    }

    fn options(&self) -> Options {
        Options {
            address: Address {
                servers: self.server.url(),
                credentials: None,
            },
            replicas: 1,
            synced: true,
            storage: embedded::Options::default(),
        }
    }

    fn data_dir(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Opens the bus of a node.
    async fn node(&self, name: &str) -> SharedBus {
        let opened = Nats::open(&self.data_dir(name), self.options()).await;
        Arc::new(opened.unwrap())
    }

    /// Every row of a node's replica.
    fn rows(&self, name: &str) -> Vec<Vec<Value>> {
        replica_rows::rows(&self.data_dir(name).join("replica.db"))
    }
}

fn event(text: &str) -> NewEvent {
    NewEvent::new(LOG, Uuid::now_v7(), text.to_owned())
}

async fn append(bus: &SharedBus, text: &str) -> Appended {
    bus.append(event(text)).await.unwrap()
}

fn texts(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| String::from_utf8(event.bytes.to_vec()).unwrap();
    events.iter().map(text).collect()
}

/// Waits until a node has a log up to a head.
async fn reaches(bus: &SharedBus, log: &str, head: u64) {
    let reached = async {
        let mut wakes = bus.subscribe(log);
        while bus.head(log).await.unwrap().head < head {
            wakes.past(head - 1).await.unwrap();
        }
    };
    timeout(TEST_TIMEOUT, reached).await.expect("it gets there");
}

async fn becomes(bus: &SharedBus, expected: impl Fn(&Health) -> bool) {
    let mut health = bus.health();
    let found = timeout(TEST_TIMEOUT, health.wait_for(expected)).await;
    found.expect("the health changes").unwrap();
}

#[tokio::test]
async fn events_have_one_order_on_all_nodes_and_an_id_is_stored_once() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    assert_eq!(one.epoch(), two.epoch());
    let first = event("once");
    let stored = one.append(first.clone()).await.unwrap();
    assert!(stored.new);
    // Many at once from both nodes; those of a node keep the order of its calls.
    let answers: Vec<_> = (0..200)
        .map(|number| {
            let bus = [&one, &two][number % 2];
            bus.append(event(&number.to_string()))
        })
        .collect();
    let mut offsets = vec![stored.event.offset];
    for answer in answers {
        offsets.push(answer.await.unwrap().event.offset);
    }
    for parity in 0..2 {
        let of_node: Vec<_> = offsets[1..].iter().skip(parity).step_by(2).collect();
        assert!(of_node.is_sorted());
    }
    // Repeated on the other node; the text of the first one stays.
    let again = NewEvent {
        bytes: "other".into(),
        ..first
    };
    let again = two.append(again).await.unwrap();
    assert_eq!((again.event, again.new), (stored.event, false));
    let last = *offsets.iter().max().unwrap();
    reaches(&one, LOG, last).await;
    reaches(&two, LOG, last).await;
    let read = |bus: &SharedBus| bus.read(LOG, 0, 1_000);
    let (on_one, on_two) = (read(&one).await.unwrap(), read(&two).await.unwrap());
    assert_eq!(on_one, on_two);
    offsets.sort_unstable();
    let found: Vec<_> = on_one.events.iter().map(|event| event.offset).collect();
    assert_eq!(found, offsets);
    assert_eq!(one.count(LOG, 0, u64::MAX, None).await.unwrap(), 201);
    one.close().await;
    two.close().await;
    assert_eq!(cluster.rows("one"), cluster.rows("two"));
}

#[tokio::test]
async fn a_log_among_others_is_counted_and_followed_although_its_offsets_have_gaps() {
    let cluster = Cluster::start().await;
    let bus = cluster.node("one").await;
    let mut follower = Follower::new(bus.clone(), LOG, 0);
    let (ada, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut offsets = vec![];
    for (number, author) in [ada, bob, ada, ada, bob].into_iter().enumerate() {
        let own = bus.append(event(&number.to_string()).by(author)).await;
        offsets.push(own.unwrap().event.offset);
        let other = NewEvent::new("chat/other", Uuid::now_v7(), "x");
        bus.append(other).await.unwrap();
    }
    let mut followed = vec![];
    while followed.len() < 5 {
        followed.extend(follower.next(2).await.unwrap());
    }
    assert_eq!(texts(&followed), ["0", "1", "2", "3", "4"]);
    let count = |after, upto, except| bus.count(LOG, after, upto, except);
    assert_eq!(count(0, offsets[4], None).await.unwrap(), 5);
    assert_eq!(count(offsets[0], offsets[3], None).await.unwrap(), 3);
    assert_eq!(count(offsets[0], offsets[4], Some(ada)).await.unwrap(), 2);
    assert_eq!(count(offsets[4], offsets[4], Some(ada)).await.unwrap(), 0);
    // Between two events of the log there are offsets of other logs.
    assert_eq!(count(offsets[1] + 1, offsets[2], None).await.unwrap(), 1);
}

#[tokio::test]
async fn a_node_that_joins_late_equals_the_others_although_old_messages_are_gone() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    // A shared text: compacted by either node again and again; some snapshots come too late to count.
    let mut head = 0;
    for round in 0..6_u64 {
        let bus = [&one, &two][round as usize % 2];
        for number in 0..5 {
            let update = NewEvent::new("collab/text", Uuid::now_v7(), format!("{round} {number}"));
            head = bus.append(update).await.unwrap().event.offset;
        }
        let stale = bus.compact("collab/text", head - 1, "stale".into(), head - 1);
        assert_eq!(stale.await, Err(BusError::HeadMoved { head }));
        reaches(&one, "collab/text", head).await;
        reaches(&two, "collab/text", head).await;
        let snapshot = format!("all of {round}");
        // Both at once: each was made for the same head, so both count, in one order.
        let (first, second) = (
            one.compact("collab/text", head, snapshot.clone().into(), head),
            two.compact("collab/text", head, snapshot.into(), head),
        );
        let (first, second) = (first.await, second.await);
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    }
    // A room of which the oldest messages are forgotten.
    append(&one, "old").await;
    let old = append(&two, "old too").await;
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(5)).await;
    let kept = append(&one, "kept").await;
    reaches(&one, LOG, kept.event.offset).await;
    assert!(kept.event.at > old.event.at);
    assert!(one.forget(LOG, kept.event.at).await.unwrap() > 0);
    assert_eq!(one.forget(LOG, kept.event.at).await.unwrap(), 0);
    // A room of which all messages are forgotten, and an event that has the id of a forgotten one.
    let gone = NewEvent::new("chat/gone", Uuid::now_v7(), "gone");
    one.append(gone).await.unwrap();
    assert!(one.forget("chat/gone", u64::MAX).await.unwrap() > 0);
    one.put_latest("a", "1".into()).await.unwrap();
    two.put_latest("a", "2".into()).await.unwrap();
    one.put_latest("b", "1".into()).await.unwrap();
    one.put_latest("b", Bytes::new()).await.unwrap();
    let last = append(&two, "last").await.event.offset;
    reaches(&one, LOG, last).await;

    let late = cluster.node("late").await;
    assert_eq!(late.head(LOG).await.unwrap(), one.head(LOG).await.unwrap());
    let snapshot = late.snapshot("collab/text").await.unwrap().unwrap();
    assert_eq!(
        (snapshot.offset, &snapshot.bytes[..]),
        (head, &b"all of 5"[..])
    );
    let page = late.read_before(LOG, u64::MAX, 10).await.unwrap();
    assert_eq!(texts(&page.events), ["last", "kept"]);
    let floor = late.head(LOG).await.unwrap().floor;
    assert_eq!(
        late.read(LOG, 0, 10).await,
        Err(BusError::Forgotten { floor })
    );
    assert_eq!(
        late.latest("").await.unwrap(),
        [("a".to_owned(), "2".into())]
    );
    let link = Link::open(&cluster.options().address).await.unwrap();
    let mut stream = link.jetstream.get_stream(streams::LOG).await.unwrap();
    let held = stream.info().await.unwrap().state.messages;
    assert!(held < 12, "{held} messages: old ones are not removed");
    for bus in [one, two, late] {
        bus.close().await;
    }
    assert_eq!(cluster.rows("one"), cluster.rows("two"));
    assert_eq!(cluster.rows("one"), cluster.rows("late"));
}

#[tokio::test]
async fn a_node_is_asked_to_reach_what_another_one_has_handed_out() {
    let mut cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    for number in 0..100 {
        let offset = append(&one, &number.to_string()).await.event.offset;
        two.reach(offset).await.unwrap();
        assert_eq!(two.head(LOG).await.unwrap().head, offset);
    }
    // Such an offset does not exist: nothing is waited for.
    assert_eq!(two.reach(1_000_000).await, Ok(()));
    cluster.server.kill();
    becomes(&two, |health| matches!(health, Health::Away { .. })).await;
    let unknown = two.reach(1_000_000).await;
    assert!(
        matches!(unknown, Err(BusError::Unavailable(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn of_two_nodes_that_claim_a_key_one_wins() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    for number in 0..20 {
        let key = format!("ticket/{number}");
        let claims = [one.claim(&key), two.claim(&key), one.claim(&key)];
        let claims = futures::future::join_all(claims).await;
        let won = claims.into_iter().filter(|claim| *claim == Ok(true));
        assert_eq!(won.count(), 1);
    }
}

#[tokio::test]
async fn other_nodes_hear_changes_of_values_and_volatile_messages() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let (mut changes, mut own, mut heard) =
        (two.changes(), one.listen("typing"), two.listen("typing"));
    one.put_latest("session/1", "out".into()).await.unwrap();
    let change = timeout(TEST_TIMEOUT, changes.next()).await.unwrap();
    let (key, value) = ("session/1".to_owned(), "out".into());
    assert_eq!(change, Some(Change::Value { key, value }));
    one.announce("typing", "for others".into());
    one.publish("typing", "for all".into());
    let next =
        async |listener: &mut Volatile| timeout(TEST_TIMEOUT, listener.next()).await.unwrap();
    assert_eq!(next(&mut heard).await, Some("for others".into()));
    assert_eq!(next(&mut heard).await, Some("for all".into()));
    assert_eq!(next(&mut own).await, Some("for all".into()));
    two.publish("typing", "back".into());
    assert_eq!(next(&mut own).await, Some("back".into()), "nothing twice");
}

#[tokio::test]
async fn while_nats_is_away_writes_are_refused_and_reads_are_answered() {
    let mut cluster = Cluster::start().await;
    let bus = cluster.node("one").await;
    let stored = append(&bus, "before").await;
    cluster.server.kill();
    becomes(&bus, |health| matches!(health, Health::Away { .. })).await;
    let during = event("during");
    let refused = bus.append(during.clone()).await;
    assert!(
        matches!(refused, Err(BusError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(bus.put_latest("a", "1".into()).await.is_err());
    assert_eq!(bus.head(LOG).await.unwrap().head, stored.event.offset);
    cluster.server.go_on();
    becomes(&bus, |health| *health == Health::Well).await;
    let sent = async {
        loop {
            match bus.append(during.clone()).await {
                Ok(appended) => return appended,
                Err(BusError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(TEST_TIMEOUT, sent).await.unwrap();
    let page = bus.read(LOG, 0, 10).await.unwrap();
    assert_eq!(texts(&page.events), ["before", "during"]);
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The number of messages in the stream of the latest values.
async fn latest_messages(link: &Link) -> u64 {
    let mut stream = link.jetstream.get_stream(streams::LATEST).await.unwrap();
    stream.info().await.unwrap().state.messages
}

#[tokio::test]
async fn a_node_that_tries_again_and_again_wins_a_key_whose_claim_has_expired() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    assert_eq!(one.claim("job/1/lost").await, Ok(true));
    for _ in 0..3 {
        assert_eq!(two.claim("job/1/lost").await, Ok(false));
    }
    // As the age of the stream does, to the first claim alone.
    let link = Link::open(&cluster.options().address).await.unwrap();
    let stream = streams::stream(&link.jetstream, streams::CLAIMS).await;
    stream.unwrap().purge().sequence(2).await.unwrap();
    assert_eq!(two.claim("job/1/lost").await, Ok(true));
    assert_eq!(one.claim("job/1/lost").await, Ok(false));
}

#[tokio::test]
async fn a_removed_value_leaves_the_stream_and_a_value_that_came_since_stays() {
    let cluster = Cluster::start().await;
    let data_dir = cluster.data_dir("one");
    let node = Nats::open(&data_dir, cluster.options()).await.unwrap();
    for (key, value) in [
        ("gone", "1"),
        ("gone", ""),
        ("back", "1"),
        ("back", ""),
        ("held", "1"),
    ] {
        node.put_latest(key, value.into()).await.unwrap();
    }
    let link = &node.shared.link;
    node.shared.clear_removals_before(1).await.unwrap();
    assert_eq!(latest_messages(link).await, 3, "they are not old enough");
    // A replica that does not know yet that the key has a value again.
    let removals = node.shared.replica.removals(u64::MAX, 10).await.unwrap();
    node.put_latest("back", "2".into()).await.unwrap();
    let connection = Connection::open(data_dir.join("replica.db")).unwrap();
    let known = "INSERT OR REPLACE INTO removed (key, sequence, at) VALUES (?1, ?2, 0)";
    for removal in removals {
        let row = (removal.key, removal.sequence as i64);
        connection.execute(known, row).unwrap();
    }
    node.shared.clear_removals_before(u64::MAX).await.unwrap();
    assert_eq!(latest_messages(link).await, 2);
    assert_eq!(node.shared.replica.removals(u64::MAX, 10).await, Ok(vec![]));
    let late = cluster.node("late").await;
    let values = [("back".to_owned(), "2".into()), ("held".into(), "1".into())];
    assert_eq!(late.latest("").await.unwrap(), values);
}

#[tokio::test]
async fn a_replica_that_was_away_for_a_day_reads_the_latest_values_again() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    one.put_latest("gone", "1".into()).await.unwrap();
    two.reach_latest().await.unwrap();
    two.close().await;
    drop(two);
    one.put_latest("gone", Bytes::new()).await.unwrap();
    one.put_latest("held", "1".into()).await.unwrap();
    let link = Link::open(&cluster.options().address).await.unwrap();
    // As after two days.
    let subject = record::latest_subject("gone");
    let removed = streams::remove_before(&link.jetstream, streams::LATEST, &subject, u64::MAX);
    removed.await.unwrap();
    let rows = Connection::open(cluster.data_dir("two").join("replica.db")).unwrap();
    let day_old = now_ms() - removals::READ_AGAIN_AFTER.as_millis() as u64;
    let sql = "UPDATE streams SET message = ?1 WHERE name = 'WIREWISE_LATEST'";
    let place = format!("{}000000 ", day_old);
    assert_eq!(rows.execute(sql, [place]).unwrap(), 1);
    drop(rows);
    let two = cluster.node("two").await;
    assert_eq!(
        two.latest("").await.unwrap(),
        [("held".to_owned(), "1".into())]
    );
}

#[tokio::test]
async fn a_lost_tail_renews_the_epoch_and_all_replicas_are_built_anew() {
    let mut cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let epoch = one.epoch();
    append(&one, "kept").await;
    cluster.server.kill();
    let older = cluster.folder.path().join("older");
    copy(&cluster.server.store(), &older);
    for bus in [&one, &two] {
        becomes(bus, |health| matches!(health, Health::Away { .. })).await;
    }
    cluster.server.go_on();
    for bus in [&one, &two] {
        becomes(bus, |health| *health == Health::Well).await;
    }
    let lost = append(&one, "lost").await.event.offset;
    reaches(&two, LOG, lost).await;
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.store()).unwrap();
    copy(&older, &cluster.server.store());
    cluster.server.go_on();
    becomes(&one, |health| *health == Health::Renewed).await;
    becomes(&two, |health| *health == Health::Renewed).await;
    one.close().await;
    two.close().await;
    drop((one, two));
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    assert_ne!(one.epoch(), epoch);
    assert_eq!(one.epoch(), two.epoch());
    let next = append(&two, "next").await.event.offset;
    reaches(&one, LOG, next).await;
    let page = one.read(LOG, 0, 10).await.unwrap();
    assert_eq!(texts(&page.events), ["kept", "next"]);
}

#[tokio::test]
async fn a_node_that_was_down_notices_a_lost_tail_although_others_went_on() {
    let mut cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    append(&one, "kept").await;
    one.close().await;
    drop(one);
    cluster.server.kill();
    let older = cluster.folder.path().join("older");
    copy(&cluster.server.store(), &older);
    cluster.server.go_on();
    let one = cluster.node("one").await;
    append(&one, "lost").await;
    let epoch = one.epoch();
    one.close().await;
    drop(one);
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.store()).unwrap();
    copy(&older, &cluster.server.store());
    cluster.server.go_on();
    // A node without a replica cannot know what is lost, and writes something else in its place.
    let new = cluster.node("new").await;
    assert_eq!(new.epoch(), epoch);
    append(&new, "in its place").await;
    let one = cluster.node("one").await;
    assert_ne!(one.epoch(), epoch);
    let page = one.read(LOG, 0, 10).await.unwrap();
    assert_eq!(texts(&page.events), ["kept", "in its place"]);
    becomes(&new, |health| *health == Health::Renewed).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |server: &NatsServer| {
        let address = Address {
            servers: server.url(),
            credentials: None,
        };
        let options = Options {
            address,
            replicas: 1,
            synced: true,
            storage: embedded::Options::default(),
        };
        let opened = Nats::open(folder.path(), options).await;
        opened.err().unwrap().to_string()
    };
    let small = NatsServer::with(&folder.path().join("small"), "max_payload: 1MB");
    let sentence = open(&small).await;
    assert!(sentence.contains("max_payload: 16MB"), "{sentence}");
    let mut gone = NatsServer::start(&folder.path().join("gone"));
    gone.kill();
    let sentence = open(&gone).await;
    assert!(sentence.contains("Start it, or name another"), "{sentence}");
}

#[tokio::test]
async fn a_full_disk_of_the_replica_loses_nothing() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    append(&one, "first").await;
    // The replica refuses every event for a while, as a full disk would.
    let database = Connection::open(cluster.data_dir("one").join("replica.db")).unwrap();
    database.busy_timeout(TEST_TIMEOUT).unwrap();
    let refuse =
        "CREATE TRIGGER planted BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'planted'); END";
    database.execute_batch(refuse).unwrap();
    let late = append(&two, "second").await;
    let last = append(&two, "third").await;
    let refused = one.append(event("own"));
    assert!(
        refused.await.is_err(),
        "it is in the stream, but not in this replica"
    );
    database.execute_batch("DROP TRIGGER planted").unwrap();
    reaches(&one, LOG, last.event.offset).await;
    let page = one.read(LOG, 0, 10).await.unwrap();
    assert_eq!(texts(&page.events)[..3], ["first", "second", "third"]);
    assert!(late.event.offset < last.event.offset);
}

/// The term of the owner, once the competitor is it.
async fn owned(lease: &mut Lease) -> u64 {
    let owned = timeout(TEST_TIMEOUT, lease.owned_term()).await;
    owned.expect("it becomes the owner")
}

#[tokio::test]
async fn one_node_at_a_time_owns_a_key_and_the_next_one_has_a_higher_term() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut first = one.lease("prices");
    let term = owned(&mut first).await;
    let mut second = two.lease("prices");
    let mut other = two.lease("other");
    owned(&mut other).await;
    assert_eq!(second.ownership(), Ownership::Waiting, "it is taken");
    first.release().await;
    assert!(owned(&mut second).await > term);
    // A lease that is dropped is given up too.
    drop(second);
    owned(&mut one.lease("prices")).await;
}

#[tokio::test]
async fn the_key_of_a_dead_node_is_free_again_when_its_lease_ends() {
    let cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    let client = async_nats::connect(cluster.server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let dead = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
    let claimed = jetstream.publish(record::lease_subject("prices"), dead);
    let claimed = claimed.await.unwrap().await.unwrap();
    let mut lease = one.lease("prices");
    assert!(owned(&mut lease).await > claimed.sequence);
}

#[tokio::test]
async fn an_owner_that_is_not_the_last_one_notices_it() {
    let cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    let mut lease = one.lease("prices");
    let term = owned(&mut lease).await;
    // As where a replicated stream accepted two owners.
    let client = async_nats::connect(cluster.server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let other = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
    let claimed = jetstream.publish(record::lease_subject("prices"), other);
    claimed.await.unwrap().await.unwrap();
    let lost = timeout(TEST_TIMEOUT, lease.lost(term)).await;
    lost.expect("it is no longer the owner");
    assert!(owned(&mut lease).await > term, "once the other one is gone");
}

#[tokio::test]
async fn a_question_is_answered_by_the_node_that_has_an_answer() {
    let cluster = Cluster::start().await;
    let (one, two, three) = (
        cluster.node("one").await,
        cluster.node("two").await,
        cluster.node("three").await,
    );
    assert_eq!(
        one.ask("jobs/7", "state".into()).await,
        None,
        "nobody listens"
    );
    let mut with_answer = two.questions("jobs/7");
    let mut without = three.questions("jobs/7");
    tokio::spawn(async move {
        while let Some(question) = with_answer.next().await {
            assert_eq!(question.bytes, "state");
            question.answer("done".into());
        }
    });
    tokio::spawn(async move { while without.next().await.is_some() {} });
    let asked = async {
        loop {
            // The subscriptions may not have reached the server yet.
            if let Some(answer) = one.ask("jobs/7", "state".into()).await {
                return answer;
            }
        }
    };
    let answer = timeout(TEST_TIMEOUT, asked).await.expect("an answer");
    assert_eq!(answer, "done");
}

#[tokio::test]
async fn a_node_that_closes_its_bus_has_left() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let (mut departures, leaver) = (one.departures(), two.node().unwrap());
    // One has heard of two before.
    let mut heard = one.listen("hello");
    let greeting = async {
        loop {
            two.announce("hello", Bytes::new());
            if timeout(Duration::from_millis(100), heard.next())
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    timeout(TEST_TIMEOUT, greeting).await.expect("it is heard");
    assert!(one.is_present(leaver));
    two.close().await;
    let left = timeout(TEST_TIMEOUT, departures.next()).await;
    assert_eq!(left, Ok(Some(leaver)));
}
