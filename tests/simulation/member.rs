//! A simulated process: the real worker and the real follower over simulated clients, and the disk
//! that outlives them.
//!
//! A turn takes the worker's steps one by one. It ends early where a client's call makes the member
//! stand still, so that other members act between any two calls of a commit.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use streams::record::{Partition, TaskId};
use streams::runtime::worker::{
    Claims, Follower, FollowerHandle, RuntimeContext, Worker, WorkerSettings,
};
use streams::store::MemoryStore;
use streams::{Error, Result};

use super::env::{Disks, Shared};
use super::group::SimGroup;
use super::topics::{Flusher, SimTopics};

/// Steps of one turn: more than any turn takes that does not wait.
const MAX_STEPS: usize = 300;
/// A simulated process has one worker.
const WORKER: usize = 0;

/// A process, its disk, and the transactional id that both outlive.
pub(crate) struct Member<'a> {
    env: Shared,
    scene: RuntimeContext<'a>,
    settings: WorkerSettings,
    tasks: Vec<TaskId>,
    id: usize,
    /// It keeps warm what others own.
    is_standby: bool,
    /// Unique for each time that its worker joins.
    pub(crate) incarnation: u64,
    process: Option<Process<'a>>,
    disks: Disks,
    snapshots: BTreeMap<(String, Partition), MemoryStore>,
}

struct Process<'a> {
    /// False once it is dead: clients that are dropped do nothing more.
    alive: Rc<Cell<bool>>,
    worker: Worker<'a, SimGroup, SimTopics>,
    flusher: Rc<RefCell<Flusher>>,
    standby: FollowerHandle,
    follower: Option<Following<'a>>,
}

struct Following<'a> {
    follower: Follower<'a, SimTopics>,
    flusher: Rc<RefCell<Flusher>>,
    asks: Claims,
}

impl<'a> Member<'a> {
    /// A process that has never run.
    pub(crate) fn new(
        env: &Shared,
        scene: RuntimeContext<'a>,
        settings: WorkerSettings,
        tasks: Vec<TaskId>,
        (id, is_standby): (usize, bool),
    ) -> Self {
        Self {
            env: Rc::clone(env),
            scene,
            settings,
            tasks,
            id,
            is_standby,
            incarnation: 0,
            process: None,
            disks: Disks::default(),
            snapshots: BTreeMap::new(),
        }
    }

    /// The process runs.
    pub(crate) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) {
        let alive = Rc::new(Cell::new(true));
        let (standby, asks) = if self.is_standby {
            let (standby, asks) = FollowerHandle::new();
            (standby, Some(asks))
        } else {
            (FollowerHandle::default(), None)
        };
        let follower = asks.map(|asks| self.follow(&alive, asks));
        self.process = Some(self.join(alive, standby, follower));
    }

    fn topics(&self, alive: &Rc<Cell<bool>>) -> SimTopics {
        SimTopics::new(&self.env, &self.disks, alive)
    }

    fn follow(&self, alive: &Rc<Cell<bool>>, asks: Claims) -> Following<'a> {
        let topics = self.topics(alive);
        let flusher = topics.flusher();
        let follower = Follower::new(self.scene, self.settings.disk, self.tasks.clone(), topics);
        Following { follower, flusher, asks }
    }

    /// A worker joins, in a process that may have a follower.
    fn join(
        &mut self,
        alive: Rc<Cell<bool>>,
        standby: FollowerHandle,
        follower: Option<Following<'a>>,
    ) -> Process<'a> {
        self.incarnation = {
            let mut env = self.env.borrow_mut();
            env.broker.expel(self.incarnation);
            env.incarnations += 1;
            env.incarnations
        };
        let group = SimGroup::join(&self.env, self.id, self.incarnation);
        let topics = self.topics(&alive);
        let flusher = topics.flusher();
        let (scene, line) = (self.scene, standby.clone());
        let worker = Worker::new(scene, self.settings, line, WORKER, group, topics);
        Process { alive, worker, flusher, standby, follower }
    }

    /// Dies: what is on disk is all that is left.
    pub(crate) fn crash(&mut self) {
        if let Some(process) = self.process.take() {
            process.alive.set(false);
        }
    }

    /// After its turn it gives everything back and ends.
    pub(crate) fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.worker.stop();
        }
    }

    /// Its disk remembers how it is now.
    pub(crate) fn snapshot(&mut self) -> Result<()> {
        for (at, disk) in &*self.disks.borrow() {
            self.snapshots.insert(at.clone(), disk.snapshot()?);
        }
        Ok(())
    }

    /// Its disk falls back to what it remembered, or to nothing.
    pub(crate) fn fall_back(&mut self) {
        let mut snapshots = std::mem::take(&mut self.snapshots);
        for (at, disk) in &*self.disks.borrow() {
            disk.fall_back(snapshots.remove(at).unwrap_or_default());
        }
    }

    /// One turn of the worker, or the part of it up to where it stands still; then, sometimes, one
    /// of the follower.
    pub(crate) fn turn(&mut self) -> Result<()> {
        if let Err(error) = self.worker_turn() {
            self.replace_worker(&error)?;
        }
        let follows = self.env.borrow_mut().chance(60);
        if !follows {
            return Ok(());
        }
        self.follower_turn().or_else(|error| self.replace_follower(&error))
    }

    fn worker_turn(&mut self) -> Result<()> {
        let Some(Process { worker, flusher, .. }) = &mut self.process else {
            return Ok(());
        };
        for _ in 0..MAX_STEPS {
            worker.step()?;
            self.env.borrow_mut().audit_tasks(self.incarnation, worker.tasks())?;
            if self.env.borrow_mut().chance(5) {
                flusher.borrow_mut().work();
            }
            let mut env = self.env.borrow_mut();
            if let Some(place) = env.died {
                return Err(Error::Unavailable(place.into()));
            }
            if worker.has_stopped() {
                env.note(format!("{} has stopped", self.incarnation));
                env.broker.expel(self.incarnation);
                break;
            }
            if std::mem::take(&mut env.stands_still) || worker.is_between_turns() {
                return Ok(());
            }
        }
        if worker.has_stopped() {
            self.process = None;
        }
        Ok(())
    }

    fn follower_turn(&mut self) -> Result<()> {
        let following = self.process.as_mut().and_then(|process| process.follower.as_mut());
        let Some(Following { follower, flusher, asks }) = following else {
            return Ok(());
        };
        follower.turn(asks)?;
        let mut env = self.env.borrow_mut();
        env.stands_still = false;
        follower.replicas().try_for_each(|(task, replica)| env.audit_replica(task, replica))?;
        let works = env.chance(40);
        drop(env);
        if works {
            flusher.borrow_mut().work();
        }
        match self.env.borrow().died {
            Some(place) => Err(Error::Unavailable(place.into())),
            None => Ok(()),
        }
    }

    /// What failed is dropped whole, and another takes its place, as in production; or the process
    /// is dead.
    fn replace_worker(&mut self, error: &Error) -> Result<()> {
        if self.is_dead(error, "worker")? {
            return Ok(());
        }
        let Some(Process { alive, worker, standby, follower, .. }) = self.process.take() else {
            return Ok(());
        };
        drop(worker);
        standby.release_all(WORKER);
        self.process = Some(self.join(alive, standby, follower));
        self.env.borrow_mut().note(format!("it is {} now", self.incarnation));
        Ok(())
    }

    fn replace_follower(&mut self, error: &Error) -> Result<()> {
        if self.is_dead(error, "follower")? {
            return Ok(());
        }
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        if let Some(Following { follower, asks, .. }) = process.follower.take() {
            drop(follower);
            process.follower = Some(self.follow(&process.alive, asks));
        }
        self.process = Some(process);
        Ok(())
    }

    /// Whether the error is that of a process that died. One that asks for a person is returned.
    fn is_dead(&mut self, error: &Error, who: &str) -> Result<bool> {
        let died = {
            let mut env = self.env.borrow_mut();
            (env.audit_due, env.stands_still) = (false, false);
            env.died.take()
        };
        if let Some(place) = died {
            let line = format!("the {who} of {} dies {place}", self.incarnation);
            self.env.borrow_mut().note(line);
            self.crash();
            return Ok(true);
        }
        if matches!(error, Error::Corrupt(_) | Error::Invalid(_)) {
            return Err(error.clone());
        }
        let line = format!("the {who} of {} joins again: {error}", self.incarnation);
        self.env.borrow_mut().note(line);
        Ok(false)
    }
}
