//! All open boards: those with connections, and those that had some until recently. `boards/others.rs` exchanges their
//! peers with other nodes.

mod others;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, interval, sleep},
};

use super::{
    board::Board,
    elsewhere::peers_begin_after,
    offenders::Offenders,
    roster::Roster,
    store::{LoadError, Store},
};
use crate::{
    background::Supervisor,
    bus::SharedBus,
    collab::message::{FirstBoard, PeerId},
};
use realtime::server::Drain;

/// The shortest time between two pointer messages. Thirty a second look fluid; more only cost more.
pub const TICK: Duration = Duration::from_millis(33);
/// How long a board without connections stays open, so that it is still there after a reload or a lost connection.
const KEPT: Duration = Duration::from_secs(30);
/// The maximum number of open boards. A name costs nothing, but a board does.
const MOST_BOARDS: usize = 10_000;
/// The time between two searches for boards that can be closed.
const SWEEP: Duration = Duration::from_secs(5);

/// All boards. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Collab(Arc<Shared>);

struct Shared {
    bus: SharedBus,
    /// A std mutex: it is held for look-ups and while messages are queued, and never across an await.
    boards: Mutex<HashMap<String, Open>>,
    /// The boards with pointer changes since the last tick. A std mutex: it is held for a push.
    moved: Mutex<Vec<Arc<Board>>>,
    has_moved: Notify,
    /// The highest id of any socket of this node so far.
    newest_peer: AtomicU64,
    offenders: Offenders,
    background: Supervisor,
}

struct Open {
    board: Arc<Board>,
    visits: usize,
    /// When the last visit ended.
    empty_since: Instant,
    tasks: Vec<AbortHandle>,
}

/// A handle that keeps a board open. The board stays open for a while after the last one is dropped.
pub struct Visit {
    name: String,
    board: Arc<Board>,
    collab: Collab,
}

impl Collab {
    pub fn new(bus: SharedBus, background: Supervisor) -> Self {
        let newest_peer = peers_begin_after(bus.node());
        Self(Arc::new(Shared {
            bus,
            boards: Mutex::default(),
            moved: Mutex::default(),
            has_moved: Notify::new(),
            newest_peer: AtomicU64::new(newest_peer),
            offenders: Offenders::default(),
            background,
        }))
    }

    /// Sends pointer changes, at most once a tick, and closes boards without connections, until the server shuts down. Then
    /// the other nodes are told.
    pub async fn run(self, drain: Drain) {
        let sweeping = async {
            let mut every = interval(SWEEP);
            loop {
                every.tick().await;
                self.sweep();
            }
        };
        tokio::select! {
            () = self.tick() => {}
            () = sweeping => {}
            () = drain.started() => {}
        }
        self.say_goodbye();
    }

    /// Each board ticks in a task of its own, so that a busy board does not delay the others.
    async fn tick(&self) {
        let mut ticks = JoinSet::new();
        loop {
            self.0.has_moved.notified().await;
            for board in std::mem::take(&mut *self.moved()) {
                ticks.spawn(async move { board.tick() });
            }
            sleep(TICK).await;
            while let Some(ticked) = ticks.try_join_next() {
                if let Err(error) = ticked
                    && let Ok(panic) = error.try_into_panic()
                {
                    // Passes the tick's panic on to this task, so that its supervisor sees it.
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Resolves when all accepted updates are on disk.
    pub async fn save(&self) {
        for board in self.open_boards() {
            board.written().await;
        }
    }

    fn open_boards(&self) -> Vec<Arc<Board>> {
        let boards = self.boards();
        boards.values().map(|open| open.board.clone()).collect()
    }

    /// Opens a board and loads it. Refused if too many other boards are open.
    pub async fn visit(&self, name: &str) -> Result<Visit, LoadError> {
        let visit = self.enter(name).ok_or(LoadError::Crowded)?;
        visit.board.load().await?;
        Ok(visit)
    }

    /// The first state of a board's page. Looking at a document that was never written does not open a board.
    pub async fn first_board(&self, name: &str) -> Result<FirstBoard, LoadError> {
        let is_open = self.boards().contains_key(name);
        let peers_elsewhere = match is_open {
            true => vec![],
            false => self.peers_elsewhere(name).await,
        };
        if !is_open && Store::new(self.0.bus.clone(), name).is_empty().await? {
            let text = String::new();
            return Ok(FirstBoard {
                peers: peers_elsewhere,
                text,
            });
        }
        let visit = self.visit(name).await?;
        let peers = match is_open {
            true => visit.board.roster().peers(),
            // The board has not heard from the other nodes yet.
            false => peers_elsewhere,
        };
        let text = visit.board.read().await?;
        Ok(FirstBoard { peers, text })
    }

    pub fn offenders(&self) -> Offenders {
        self.0.offenders.clone()
    }

    fn enter(&self, name: &str) -> Option<Visit> {
        let mut boards = self.boards();
        if boards.len() >= MOST_BOARDS && !boards.contains_key(name) {
            return None;
        }
        let open = boards.entry(name.to_owned()).or_insert_with(|| {
            let board = Arc::new(Board::new(self.0.bus.clone(), name));
            let tasks = self.begin(&board);
            Open {
                board,
                visits: 0,
                empty_since: Instant::now(),
                tasks,
            }
        });
        open.visits += 1;
        Some(Visit {
            name: name.to_owned(),
            board: open.board.clone(),
            collab: self.clone(),
        })
    }

    /// Starts the tasks of a board. A panic does not leave it without one: unsaved updates stay in the list, and the next
    /// run goes on with them.
    fn begin(&self, board: &Arc<Board>) -> Vec<AbortHandle> {
        let background = &self.0.background;
        let writing = board.clone();
        let mut tasks = vec![background.run("board writer", move || writing.clone().write())];
        if self.0.bus.node().is_some() {
            let following = board.clone();
            tasks.push(background.run("board follower", move || following.clone().follow()));
            let (collab, exchanging) = (self.clone(), board.clone());
            tasks.push(background.run("board at other nodes", move || {
                collab.clone().exchange(exchanging.clone())
            }));
        }
        tasks.iter().map(JoinHandle::abort_handle).collect()
    }

    /// Closes boards that had no connection for a while. A board with unwritten updates stays open.
    fn sweep(&self) {
        self.boards().retain(|_, open| {
            let closes =
                open.visits == 0 && open.empty_since.elapsed() >= KEPT && open.board.is_written();
            if closes {
                open.tasks.iter().for_each(AbortHandle::abort);
            }
            !closes
        });
    }

    /// Schedules a board's pointer changes for the next tick.
    fn schedule(&self, board: &Arc<Board>) {
        if board.moved() {
            self.moved().push(board.clone());
            self.0.has_moved.notify_one();
        }
    }

    fn newest_peer(&self) -> PeerId {
        self.0.newest_peer.load(Ordering::Relaxed)
    }

    /// A panic while the lock is held leaves a complete list.
    fn moved(&self) -> MutexGuard<'_, Vec<Arc<Board>>> {
        self.0.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a panic while the lock was held, at worst a board is never closed.
    fn boards(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// A new peer's id.
    pub fn next_peer(&self) -> PeerId {
        self.collab.0.newest_peer.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The highest peer id of this node so far.
    pub fn newest_peer(&self) -> PeerId {
        self.collab.newest_peer()
    }

    /// Changes the roster. What the other nodes have to be told goes out with the next tick.
    pub fn change<R>(&self, change: impl FnOnce(&mut Roster) -> R) -> R {
        let mut roster = self.board.roster();
        let answer = change(&mut roster);
        let has_news = roster.has_news();
        drop(roster);
        if has_news {
            self.moved();
        }
        answer
    }

    /// Schedules the board's pointer changes for the next tick.
    pub fn moved(&self) {
        self.collab.schedule(&self.board);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(open) = self.collab.boards().get_mut(&self.name) {
            open.visits -= 1;
            open.empty_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::ws::Message as Frame;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::{bus::embedded::Embedded, session::User};
    use realtime::server::queue::OutQueue;

    #[tokio::test]
    async fn the_number_of_open_boards_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let collab = Collab::new(
            Arc::new(Embedded::open(folder.path()).unwrap()),
            Supervisor::default(),
        );
        let open = |number: usize| collab.enter(&format!("board-{number}"));
        let visits: Vec<Visit> = (0..MOST_BOARDS).map_while(open).collect();
        assert_eq!(visits.len(), MOST_BOARDS);
        let refused = collab.visit("one-more").await;
        assert!(matches!(refused, Err(LoadError::Crowded)));
        assert!(collab.visit("board-0").await.is_ok());
    }

    #[tokio::test]
    async fn a_board_stays_open_while_it_is_visited_and_a_while_longer() {
        let folder = tempfile::tempdir().unwrap();
        let collab = Collab::new(
            Arc::new(Embedded::open(folder.path()).unwrap()),
            Supervisor::default(),
        );
        let open = || collab.boards().len();
        let stays = collab.visit("stays").await.unwrap();
        drop(collab.visit("left").await.unwrap());
        collab.sweep();
        assert_eq!(open(), 2, "a reload finds it still there");
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        collab.sweep();
        assert_eq!(open(), 1);
        drop(stays);
        collab.sweep();
        assert_eq!(open(), 1, "it was left just now");
        assert_eq!(
            collab.first_board("never-written").await.unwrap(),
            FirstBoard::default()
        );
        assert_eq!(open(), 1, "to look at nothing opens nothing");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_busy_board_does_not_delay_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let collab = Collab::new(
            Arc::new(Embedded::open(folder.path()).unwrap()),
            Supervisor::default(),
        );
        let visits = [
            collab.visit("busy").await.unwrap(),
            collab.visit("other").await.unwrap(),
        ];
        let queue = OutQueue::default();
        for visit in &visits {
            let user = User::new(Uuid::new_v4(), "Ana".into());
            let welcome = |_| Frame::Text("welcome".into());
            visit.board().roster().join(1, user, queue.clone(), welcome);
            assert!(visit.board().roster().move_to(1, 0.5, 0.5));
            visit.moved();
        }
        queue.take().await;
        // On a thread of its own, as if a message of the busy board were queued for very many clients.
        let busy = visits[0].board().clone();
        let (held, is_held) = std::sync::mpsc::channel();
        let (let_go, may_go) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let roster = busy.roster();
            held.send(()).unwrap();
            let _ = may_go.recv();
            drop(roster);
        });
        is_held.recv().unwrap();
        let running = tokio::spawn(collab.clone().run(Drain::default()));
        let delivered = timeout(Duration::from_secs(20), queue.take()).await;
        // In a task: if the map of boards is locked, only that task's thread waits.
        let third = collab.clone();
        let visiting = tokio::spawn(async move { third.visit("third").await.map(drop) });
        let visited = timeout(Duration::from_secs(20), visiting).await;
        let_go.send(()).unwrap();
        holder.join().unwrap();
        running.abort();
        let delivered = delivered.expect("the other board is ticked").messages;
        assert!(
            delivered[0].to_text().unwrap().contains("moved"),
            "{delivered:?}"
        );
        assert!(visited.is_ok(), "and a third can be opened");
    }

    #[tokio::test]
    async fn a_board_is_scheduled_once_for_any_number_of_moves() {
        let folder = tempfile::tempdir().unwrap();
        let collab = Collab::new(
            Arc::new(Embedded::open(folder.path()).unwrap()),
            Supervisor::default(),
        );
        let visit = collab.visit("notes").await.unwrap();
        for _ in 0..1_000 {
            visit.moved();
        }
        assert_eq!(collab.moved().len(), 1);
        visit.board().tick();
        visit.moved();
        assert_eq!(
            collab.moved().len(),
            2,
            "a move after the tick asks for the next"
        );
    }
}
