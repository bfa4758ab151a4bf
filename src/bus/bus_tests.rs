//! Tests the guarantees of every bus with the embedded one, and the embedded one's own features: files, restarts,
//! backups.

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    embedded::{BackupError, Embedded, OpenError, Options, backup, restore},
    *,
};
use realtime::position::Position;

const LOG: &str = "chat/lobby";
/// Far longer than any step here takes; a test that hangs fails after it.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The text of an event is the word "number" and its bytes.
const SEARCHED: Options = Options {
    group: embedded::GROUP,
    searchable: Some(Searchable {
        prefix: "chat/",
        text: |bytes| Some(format!("number {}", String::from_utf8_lossy(bytes))),
    }),
    search_within: TEST_TIMEOUT,
};

fn open(folder: &Path) -> SharedBus {
    Arc::new(Embedded::with(folder, SEARCHED).unwrap())
}

fn bus() -> (SharedBus, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()), folder)
}

fn event(text: &str) -> NewEvent {
    NewEvent::new(LOG, Uuid::new_v4(), text.to_owned())
}

async fn fill(bus: &SharedBus, count: usize) {
    let answers: Vec<_> = (1..=count)
        .map(|number| bus.append(event(&number.to_string())))
        .collect();
    for answer in answers {
        answer.await.unwrap();
    }
}

/// Repeats a search until it finds the expected events: the index is written a little after the events.
async fn finds(bus: &SharedBus, text: &str, limit: usize, expected: (&[u64], bool)) {
    found(bus, text, limit, |page| {
        let found = (offsets(page), page.more);
        println!("{text}: {found:?}, expected {expected:?}");
        (&*found.0, found.1) == expected
    })
    .await;
}

async fn found(bus: &SharedBus, text: &str, limit: usize, expected: impl Fn(&Page) -> bool) {
    let searching = async {
        while !expected(&bus.search(LOG, text, limit).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(TEST_TIMEOUT, searching).await;
    assert!(found.is_ok(), "{text} does not find what it should");
}

fn offsets(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.offset).collect()
}

#[tokio::test]
async fn events_are_stored_in_the_order_of_the_calls() {
    let (bus, _folder) = bus();
    fill(&bus, 500).await;
    let page = bus.read(LOG, 0, 1_000).await.unwrap();
    let texts: Vec<_> = page
        .events
        .iter()
        .map(|event| String::from_utf8(event.bytes.to_vec()).unwrap())
        .collect();
    assert_eq!(
        texts,
        (1..=500)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    );
    assert!(page.events.is_sorted_by_key(|event| event.offset));
    assert!(page.events.is_sorted_by_key(|event| event.at));
    assert_eq!(bus.head("chat/other").await.unwrap(), Head::default());
}

#[tokio::test]
async fn an_id_is_stored_once_also_after_a_restart_and_the_epoch_stays() {
    let (bus, folder) = bus();
    let first = event("once");
    let stored = bus.append(first.clone()).await.unwrap();
    assert!(stored.new);
    // In the same commit, in a later one, and with another text: the stored event does not change.
    let again = [bus.append(first.clone()), bus.append(first.clone())];
    for again in futures::future::join_all(again).await {
        let again = again.unwrap();
        assert_eq!((again.event, again.new), (stored.event.clone(), false));
    }
    let epoch = bus.epoch();
    bus.close().await;
    let bus = open(folder.path());
    assert_eq!(bus.epoch(), epoch);
    let other = NewEvent {
        bytes: "other".into(),
        ..first
    };
    assert_eq!(bus.append(other).await.unwrap().event, stored.event);
    assert_eq!(bus.head(LOG).await.unwrap().head, 1);
    // In another log the same id is stored again.
    let elsewhere = NewEvent::new("chat/rust", stored.event.id, "once");
    assert!(bus.append(elsewhere).await.unwrap().new);
}

#[tokio::test]
async fn many_writes_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Arc::new(Embedded::open(folder.path()).unwrap());
    let bus: SharedBus = embedded.clone();
    fill(&bus, 1_000).await;
    let commits = embedded.commits();
    assert_eq!(commits.writes, 1_000);
    assert!(commits.commits <= 500, "{commits:?}");
}

#[tokio::test]
async fn pages_are_read_in_both_directions_and_report_whether_there_is_more() {
    let (bus, _folder) = bus();
    fill(&bus, 10).await;
    let page = bus.read(LOG, 3, 4).await.unwrap();
    assert_eq!((offsets(&page), page.more), (vec![4, 5, 6, 7], true));
    let page = bus.read(LOG, 6, 4).await.unwrap();
    assert_eq!((offsets(&page), page.more), (vec![7, 8, 9, 10], false));
    let page = bus.read_before(LOG, 6, 3).await.unwrap();
    assert_eq!((offsets(&page), page.more), (vec![5, 4, 3], true));
    let page = bus.read_before(LOG, u64::MAX, 10).await.unwrap();
    assert_eq!((page.events.len(), page.more), (10, false));
    assert_eq!(bus.read(LOG, 10, 5).await.unwrap(), Page::default());
    assert_eq!(bus.read("no such", 0, 5).await.unwrap(), Page::default());
}

#[tokio::test]
async fn one_read_is_bounded_in_bytes_but_never_empty() {
    let (bus, _folder) = bus();
    for _ in 0..3 {
        bus.append(event(&"x".repeat(READ_BYTES))).await.unwrap();
    }
    let page = bus.read(LOG, 0, 100).await.unwrap();
    assert_eq!((offsets(&page), page.more), (vec![1], true));
    let page = bus.read_before(LOG, 4, 100).await.unwrap();
    assert_eq!((offsets(&page), page.more), (vec![3], true));
}

#[tokio::test]
async fn counts_leave_out_an_author() {
    let (bus, _folder) = bus();
    let ada = Uuid::new_v4();
    for number in 0..10 {
        let event = event("x");
        let event = if number % 3 == 0 {
            event.by(ada)
        } else {
            event
        };
        bus.append(event).await.unwrap();
    }
    assert_eq!(bus.count(LOG, 0, 99, None).await.unwrap(), 10);
    assert_eq!(bus.count(LOG, 0, 99, Some(ada)).await.unwrap(), 6);
    assert_eq!(bus.count(LOG, 4, 99, Some(ada)).await.unwrap(), 4);
    assert_eq!(bus.count(LOG, 4, 7, Some(ada)).await.unwrap(), 2);
    assert_eq!(bus.count(LOG, 99, 99, Some(ada)).await.unwrap(), 0);
    assert_eq!(bus.count(LOG, 7, 4, None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_follower_gets_stored_and_new_events_each_once_and_in_order() {
    let (bus, _folder) = bus();
    fill(&bus, 5).await;
    let mut follower = Follower::new(bus.clone(), LOG, 2);
    let writing = tokio::spawn({
        let bus = bus.clone();
        async move { fill(&bus, 200).await }
    });
    let mut seen = vec![];
    while seen.len() < 203 {
        let events = timeout(TEST_TIMEOUT, follower.next(7))
            .await
            .unwrap()
            .unwrap();
        assert!((1..=7).contains(&events.len()));
        seen.extend(events.into_iter().map(|event| event.offset));
    }
    assert_eq!(seen, (3..=205).collect::<Vec<_>>());
    writing.await.unwrap();
    let waits = timeout(Duration::ZERO, follower.next(7)).await;
    assert!(waits.is_err(), "there are no more events");
    bus.close().await;
    let ended = timeout(TEST_TIMEOUT, follower.next(7)).await.unwrap();
    assert_eq!(ended, Err(BusError::Closed));
}

#[tokio::test]
async fn search_finds_words_in_one_log_newest_first() {
    let (bus, _folder) = bus();
    fill(&bus, 12).await;
    let elsewhere = NewEvent::new("chat/rust", Uuid::new_v4(), "1");
    bus.append(elsewhere).await.unwrap();
    finds(&bus, "NUMB 1", 3, (&[12, 11, 10], true)).await;
    finds(&bus, "number 1", 10, (&[12, 11, 10, 1], false)).await;
    for nothing in ["absent", "", "\"", "*"] {
        let page = bus.search(LOG, nothing, 10).await.unwrap();
        assert_eq!(page, Page::default(), "{nothing}");
    }
}

#[tokio::test]
async fn search_finds_runs_of_characters_in_sentences_without_spaces() {
    let (bus, _folder) = bus();
    for text in [
        "今天玩成语接龙游戏",
        "今日は成語しりとりをした",
        "die Straße",
    ] {
        bus.append(event(text)).await.unwrap();
    }
    for (text, offset) in [
        ("成语接龙", 1),
        ("游戏", 1),
        ("しりとり", 2),
        ("strasse", 3),
    ] {
        finds(&bus, text, 10, (&[offset], false)).await;
    }
}

#[tokio::test]
async fn events_stored_without_an_index_are_indexed_at_the_start_and_after() {
    let folder = tempfile::tempdir().unwrap();
    // Like a server without an index, or one that was killed before it had indexed the events.
    let bus: SharedBus = Arc::new(Embedded::open(folder.path()).unwrap());
    fill(&bus, 1_700).await;
    assert_eq!(bus.search(LOG, "number", 9).await.unwrap(), Page::default());
    bus.close().await;
    let bus = open(folder.path());
    finds(&bus, "number 1700", 9, (&[1_700], false)).await;
    finds(&bus, "number 1", 1, (&[1_700], true)).await;
    bus.close().await;
    // Indexing continues where it stopped; no event is indexed twice.
    let bus = open(folder.path());
    bus.append(event("1701")).await.unwrap();
    finds(&bus, "number 170", 9, (&[1_701, 1_700, 170], false)).await;
}

#[tokio::test]
async fn a_damaged_or_lost_index_is_rebuilt() {
    let (bus, folder) = bus();
    fill(&bus, 3).await;
    finds(&bus, "number 3", 9, (&[3], false)).await;
    bus.close().await;
    let file = folder.path().join("search.db");
    std::fs::write(&file, "no database ".repeat(999)).unwrap();
    let bus = open(folder.path());
    finds(&bus, "number 3", 9, (&[3], false)).await;
    bus.close().await;
    std::fs::remove_file(&file).unwrap();
    let bus = open(folder.path());
    finds(&bus, "number 3", 9, (&[3], false)).await;
}

#[tokio::test]
async fn dropped_events_are_removed_from_the_index() {
    let (bus, folder) = bus();
    fill(&bus, 5).await;
    finds(&bus, "number", 9, (&[5, 4, 3, 2, 1], false)).await;
    bus.compact(LOG, 4, "all".into(), 5).await.unwrap();
    finds(&bus, "number", 9, (&[5], false)).await;
    bus.append(event("6")).await.unwrap();
    finds(&bus, "number", 9, (&[6, 5], false)).await;
    bus.close().await;
    // The events are deleted from the index, not only filtered out.
    let index = rusqlite::Connection::open(folder.path().join("search.db")).unwrap();
    let mut select = index
        .prepare("SELECT rowid & 0xfffffffff FROM words WHERE words MATCH 'number' ORDER BY rowid")
        .unwrap();
    let left: Vec<u64> = select
        .query_map([], |row| row.get::<_, i64>(0))
        .unwrap()
        .map(|offset| offset.unwrap() as u64)
        .collect();
    assert_eq!(left, [5, 6]);
}

#[tokio::test]
async fn a_search_that_takes_too_long_is_cancelled_and_reads_continue() {
    let (bus, folder) = bus();
    fill(&bus, 500).await;
    // SQLite checks the clock every hundred steps. A search in an index that is still empty would end before the first
    // check.
    found(&bus, "number", 400, |page| page.events.len() == 400).await;
    bus.close().await;
    let at_once = Options {
        search_within: Duration::ZERO,
        ..SEARCHED
    };
    let bus: SharedBus = Arc::new(Embedded::with(folder.path(), at_once).unwrap());
    let given_up = bus.search(LOG, "number", 400).await;
    assert_eq!(given_up, Err(BusError::TimedOut));
    assert_eq!(bus.read(LOG, 0, 99).await.unwrap().events.len(), 99);
}

#[tokio::test]
async fn forgotten_events_are_gone_and_reported() {
    let (bus, folder) = bus();
    fill(&bus, 10).await;
    assert_eq!(bus.forget(LOG, 0).await.unwrap(), 0, "none is that old");
    let all = bus.read(LOG, 0, 100).await.unwrap().events;
    let gone = bus.forget(LOG, all[9].at + 1).await.unwrap();
    assert_eq!(gone, 10);
    let forgotten = BusError::Forgotten { floor: 10 };
    assert_eq!(bus.read(LOG, 9, 10).await.unwrap_err(), forgotten);
    assert_eq!(bus.read(LOG, 10, 10).await.unwrap(), Page::default());
    assert_eq!(bus.read_before(LOG, 99, 9).await.unwrap(), Page::default());
    assert_eq!(bus.search(LOG, "number", 9).await.unwrap(), Page::default());
    assert_eq!(bus.count(LOG, 0, 99, None).await.unwrap(), 0);
    bus.close().await;
    // Offsets continue, also after a restart.
    let bus = open(folder.path());
    assert_eq!(bus.append(event("next")).await.unwrap().event.offset, 11);
    let epoch = bus.epoch();
    let position = |offset| Position::new(epoch.clone(), offset);
    let head = bus.head(LOG).await.unwrap();
    assert_eq!(
        [9, 10, 11, 12].map(|offset| head.continues(&epoch, &position(offset))),
        [false, true, true, false]
    );
    assert!(!head.continues(&epoch, &Position::new(Epoch::random(), 10)));
}

#[tokio::test]
async fn a_snapshot_replaces_events_unless_the_head_has_moved() {
    let (bus, _folder) = bus();
    fill(&bus, 10).await;
    assert_eq!(bus.snapshot(LOG).await.unwrap(), None);
    let early = bus.compact(LOG, 9, "all".into(), 9).await;
    assert_eq!(early, Err(BusError::HeadMoved { head: 10 }));
    bus.compact(LOG, 8, "all".into(), 10).await.unwrap();
    let snapshot = bus.snapshot(LOG).await.unwrap().unwrap();
    assert_eq!((snapshot.offset, &snapshot.bytes[..]), (8, &b"all"[..]));
    let page = bus.read(LOG, snapshot.offset, 10).await.unwrap();
    assert_eq!(offsets(&page), [9, 10]);
    let back = bus.compact(LOG, 7, "older".into(), 10).await;
    assert_eq!(back, Err(BusError::Forgotten { floor: 8 }));
}

#[tokio::test]
async fn the_latest_value_wins_and_an_empty_one_removes_the_key() {
    let (bus, folder) = bus();
    for (key, value) in [("a/1", "x"), ("a/2", "y"), ("ab", "z"), ("a/1", "newer")] {
        bus.put_latest(key, value.into()).await.unwrap();
    }
    let expected = |pairs: &[(&str, &str)]| {
        let owned = |(key, value): &(&str, &str)| {
            (key.to_string(), Bytes::copy_from_slice(value.as_bytes()))
        };
        pairs.iter().map(owned).collect::<Vec<_>>()
    };
    assert_eq!(
        bus.latest("a/").await.unwrap(),
        expected(&[("a/1", "newer"), ("a/2", "y")])
    );
    bus.put_latest("a/2", Bytes::new()).await.unwrap();
    bus.close().await;
    let bus = open(folder.path());
    assert_eq!(
        bus.latest("").await.unwrap(),
        expected(&[("a/1", "newer"), ("ab", "z")])
    );
}

#[tokio::test]
async fn published_messages_reach_only_the_listeners_of_their_subject() {
    let (bus, _folder) = bus();
    bus.publish("typing", "early".into());
    let (mut one, mut two) = (bus.listen("typing"), bus.listen("other"));
    bus.publish("typing", "now".into());
    assert_eq!(one.next().await.unwrap(), "now");
    assert!(timeout(Duration::ZERO, two.next()).await.is_err());
    bus.close().await;
    assert_eq!(two.next().await, None);
}

#[tokio::test]
async fn while_the_storage_is_unavailable_writes_are_refused_and_reads_continue() {
    let (bus, folder) = bus();
    fill(&bus, 3).await;
    // Another connection holds the write lock; for the writer it is the same as a disk that refuses writes.
    let other = rusqlite::Connection::open(folder.path().join("wirewise.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let lost = event("lost");
    let refused = bus.append(lost.clone()).await;
    assert!(
        matches!(refused, Err(BusError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(bus.read(LOG, 0, 10).await.unwrap().events.len(), 3);
    other.execute_batch("ROLLBACK").unwrap();
    let stored = bus.append(lost).await.unwrap();
    assert_eq!((stored.event.offset, stored.new), (4, true));
}

#[tokio::test]
async fn a_closed_bus_refuses_writes_and_stores_the_queued_ones() {
    let (bus, folder) = bus();
    let answers: Vec<_> = (0..100).map(|_| bus.append(event("last"))).collect();
    bus.close().await;
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(bus.append(event("late")).await, Err(BusError::Closed));
    assert_eq!(open(folder.path()).head(LOG).await.unwrap().head, 100);
}

#[tokio::test]
async fn a_data_folder_has_one_bus_at_a_time() {
    let (bus, folder) = bus();
    let refused = Embedded::open(folder.path()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    bus.close().await;
    open(folder.path());
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wirewise.db");
    std::fs::write(
        &path,
        "a diary, long enough to look like something of worth".repeat(40),
    )
    .unwrap();
    assert!(matches!(
        Embedded::open(folder.path()).err(),
        Some(OpenError::NotOurs(_))
    ));
    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE diary (day)").unwrap();
    assert!(matches!(
        Embedded::open(folder.path()).err(),
        Some(OpenError::NotOurs(_))
    ));
    other
        .execute_batch("PRAGMA application_id = 1464422981; PRAGMA user_version = 99")
        .unwrap();
    assert!(matches!(
        Embedded::open(folder.path()).err(),
        Some(OpenError::Newer { version: 99, .. })
    ));
}

#[tokio::test]
async fn a_backup_is_made_during_writes_and_restored_under_a_new_epoch() {
    let (bus, folder) = bus();
    fill(&bus, 100).await;
    bus.put_latest("mark", "7".into()).await.unwrap();
    let writing = tokio::spawn({
        let bus = bus.clone();
        async move { fill(&bus, 1_000).await }
    });
    let file = folder.path().join("backup.db");
    let (data, to) = (folder.path().to_owned(), file.clone());
    tokio::task::spawn_blocking(move || backup(&data, &to))
        .await
        .unwrap()
        .unwrap();
    writing.await.unwrap();
    assert!(matches!(
        backup(folder.path(), &file),
        Err(BackupError::Exists(_))
    ));
    let in_use = restore(folder.path(), &file);
    assert!(matches!(
        in_use,
        Err(BackupError::Open(OpenError::InUse(_)))
    ));
    let epoch = bus.epoch();
    bus.close().await;
    drop(bus);

    let kept = restore(folder.path(), &file).unwrap().unwrap();
    let bus = open(folder.path());
    assert_ne!(bus.epoch(), epoch);
    let head = bus.head(LOG).await.unwrap().head;
    assert!((100..=1_100).contains(&head), "{head}");
    assert_eq!(bus.latest("mark").await.unwrap().len(), 1);
    found(&bus, "number 100", 1, |page| page.events.len() == 1).await;
    let next = bus.append(event("next")).await.unwrap();
    assert_eq!((next.event.offset, next.new), (head + 1, true));
    let old = rusqlite::Connection::open(kept).unwrap();
    let stored: i64 = old
        .query_row("SELECT count(*) FROM events", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stored, 1_100, "the previous database is kept");
}

#[tokio::test]
async fn a_backup_and_a_restored_database_are_for_their_owner_and_no_earlier_copy_is_lost() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let (bus, folder) = bus();
    fill(&bus, 3).await;
    bus.close().await;
    drop(bus);
    let data = folder.path();
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("backup.db");
    backup(data, &file).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    // Only root can give the folder to another user, as an installation does.
    let is_root = chown(data, Some(65_532), Some(65_532)).is_ok();
    let kept = [(); 3].map(|()| restore(data, &file).unwrap().unwrap());
    assert!(kept.iter().all(|kept| kept.is_file()), "{kept:?}");
    let distinct: std::collections::BTreeSet<_> = kept.iter().collect();
    assert_eq!(distinct.len(), 3, "{kept:?}");
    let database = data.join("wirewise.db");
    assert_eq!(mode(&database), 0o600);
    let owner = std::fs::metadata(&database).unwrap();
    let folder = std::fs::metadata(data).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (folder.uid(), folder.gid()));
    assert!(!is_root || owner.uid() == 65_532);
}

#[tokio::test]
async fn a_failed_restore_is_reported_and_changes_nothing() {
    let (bus, folder) = bus();
    fill(&bus, 3).await;
    bus.close().await;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let whole = folder.path().join("whole.db");
    backup(folder.path(), &whole).unwrap();
    let mut bytes = std::fs::read(&whole).unwrap();
    bytes.truncate(bytes.len() / 2);
    for (path, needle) in [
        (folder.path().join("absent"), "no file"),
        (file("empty", b""), "not a database of Wirewise"),
        (
            file("diary", &b"dear diary ".repeat(99)),
            "not a database of Wirewise",
        ),
        (file("half", &bytes), "damaged"),
    ] {
        let refused = restore(folder.path(), &path).unwrap_err().to_string();
        assert!(refused.contains(needle), "{refused}");
    }
    let nothing = backup(&folder.path().join("elsewhere"), &whole.with_extension("2"));
    assert!(matches!(nothing, Err(BackupError::Nothing(_))));
    assert_eq!(open(folder.path()).head(LOG).await.unwrap().head, 3);
}
