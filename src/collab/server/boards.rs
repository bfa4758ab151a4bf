//! All boards that somebody is on, or was until lately.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{Instant, interval, sleep},
};

use super::{
    board::Board,
    offenders::Offenders,
    store::{LoadError, Store},
};
use crate::collab::message::{FirstBoard, PeerId};
use crate::{background::Supervisor, bus::SharedBus};
use realtime::server::{Counted, Drain};

/// Pointers go out at most this often: thirty times a second looks alive, and more costs only.
pub const TICK: Duration = Duration::from_millis(33);
/// How long a board is kept when everybody has gone: a reload, or a lost connection, finds it still there.
const KEPT: Duration = Duration::from_secs(30);
/// Boards that are open at once: names cost nothing, a board does.
const MOST_BOARDS: usize = 10_000;
/// Between two looks for boards that may go.
const SWEEP: Duration = Duration::from_secs(5);

/// All boards. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Collab(Arc<Shared>);

struct Shared {
    bus: SharedBus,
    /// A std mutex: it is held for look-ups and for pushes into queues, and never across an await.
    boards: Mutex<HashMap<String, Open>>,
    /// The boards on which somebody moved since the last tick. A std mutex: it is held for a push.
    moved: Mutex<Vec<Arc<Board>>>,
    has_moved: Notify,
    newest_peer: AtomicU64,
    sockets: Arc<AtomicUsize>,
    harm: Offenders,
    background: Supervisor,
}

struct Open {
    board: Arc<Board>,
    visits: usize,
    /// Since when nobody is there.
    left: Instant,
    writer: AbortHandle,
}

/// Somebody's stay on a board, which is kept until it ends and a while longer.
pub struct Visit {
    name: String,
    board: Arc<Board>,
    collab: Collab,
}

impl Collab {
    pub fn new(bus: SharedBus, background: Supervisor) -> Self {
        Self(Arc::new(Shared {
            bus,
            boards: Mutex::default(),
            moved: Mutex::default(),
            has_moved: Notify::new(),
            newest_peer: AtomicU64::new(0),
            sockets: Arc::default(),
            harm: Offenders::default(),
            background,
        }))
    }

    /// Tells everybody who moved, at most once a tick, and lets go of boards that nobody is on, until the server leaves.
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
    }

    /// Each board ticks in a task of its own: one that is busy holds up no other.
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
                    // The tick's own panic is this task's: whoever looks after it is told.
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Resolves when everything that was taken is on disk.
    pub async fn save(&self) {
        let boards: Vec<_> = self
            .boards()
            .values()
            .map(|open| open.board.clone())
            .collect();
        for board in boards {
            board.written().await;
        }
    }

    /// A board, loaded. Refused when so many others are open that this one cannot be.
    pub async fn visit(&self, name: &str) -> Result<Visit, LoadError> {
        let visit = self.enter(name).ok_or(LoadError::Crowded)?;
        visit.board.load().await?;
        Ok(visit)
    }

    /// A board as its page shows it first. To look at what was never written opens nothing.
    pub async fn first_board(&self, name: &str) -> Result<FirstBoard, LoadError> {
        let is_open = self.boards().contains_key(name);
        if !is_open && Store::new(self.0.bus.clone(), name).is_empty().await? {
            return Ok(FirstBoard::default());
        }
        let visit = self.visit(name).await?;
        let peers = visit.board.people().peers();
        let text = visit.board.read().await?;
        Ok(FirstBoard { peers, text })
    }

    pub fn count_socket(&self) -> Counted {
        Counted::new(self.0.sockets.clone(), "websocket", "collab")
    }

    pub fn harm(&self) -> Offenders {
        self.0.harm.clone()
    }

    fn enter(&self, name: &str) -> Option<Visit> {
        let mut boards = self.boards();
        if boards.len() >= MOST_BOARDS && !boards.contains_key(name) {
            return None;
        }
        let open = boards.entry(name.to_owned()).or_insert_with(|| {
            let board = Arc::new(Board::new(self.0.bus.clone(), name));
            // A panic leaves no board that is never written: what is unsaved stays in the list, and is written by the next run.
            let writer = self.0.background.run("board writer", {
                let board = board.clone();
                move || board.clone().write()
            });
            let writer = writer.abort_handle();
            Open {
                board,
                visits: 0,
                left: Instant::now(),
                writer,
            }
        });
        open.visits += 1;
        Some(Visit {
            name: name.to_owned(),
            board: open.board.clone(),
            collab: self.clone(),
        })
    }

    /// Lets go of boards that nobody was on for a while. What is not written yet keeps its board.
    fn sweep(&self) {
        self.boards().retain(|_, open| {
            let goes = open.visits == 0 && open.left.elapsed() >= KEPT && open.board.is_written();
            if goes {
                open.writer.abort();
            }
            !goes
        });
    }

    /// A panic while the lock was held leaves the list whole.
    fn moved(&self) -> MutexGuard<'_, Vec<Arc<Board>>> {
        self.0.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic while the lock was held leaves at worst a board that is never let go.
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

    /// The highest id of any peer so far.
    pub fn newest_peer(&self) -> PeerId {
        self.collab.0.newest_peer.load(Ordering::Relaxed)
    }

    /// Somebody moved: the next tick tells the others.
    pub fn moved(&self) {
        if self.board.moved() {
            self.collab.moved().push(self.board.clone());
            self.collab.0.has_moved.notify_one();
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(open) = self.collab.boards().get_mut(&self.name) {
            open.visits -= 1;
            open.left = Instant::now();
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
    async fn names_are_many_and_open_boards_are_not() {
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
    async fn a_board_is_kept_while_somebody_is_there_and_a_while_longer() {
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
    async fn a_busy_board_holds_up_no_other() {
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
            visit
                .board()
                .people()
                .enter(1, user, queue.clone(), welcome);
            assert!(visit.board().people().move_to(1, 0.5, 0.5));
            visit.moved();
        }
        queue.take().await;
        // A thread of its own, as if a message of the busy board's were told to very many.
        let busy = visits[0].board().clone();
        let (held, is_held) = std::sync::mpsc::channel();
        let (let_go, may_go) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let people = busy.people();
            held.send(()).unwrap();
            let _ = may_go.recv();
            drop(people);
        });
        is_held.recv().unwrap();
        let running = tokio::spawn(collab.clone().run(Drain::default()));
        let told = timeout(Duration::from_secs(20), queue.take()).await;
        // In a task: where the boards are locked, its thread waits with it.
        let third = collab.clone();
        let visiting = tokio::spawn(async move { third.visit("third").await.map(drop) });
        let visited = timeout(Duration::from_secs(20), visiting).await;
        let_go.send(()).unwrap();
        holder.join().unwrap();
        running.abort();
        let told = told.expect("the other board is ticked").messages;
        assert!(told[0].to_text().unwrap().contains("moved"), "{told:?}");
        assert!(visited.is_ok(), "and a third can be opened");
    }

    #[tokio::test]
    async fn a_board_is_ticked_once_however_often_somebody_moves_and_hides() {
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
