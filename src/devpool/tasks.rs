//! Tasks that end with the handle that started them.
//!
//! Every task of this room is spawned here, so a test that drops its pool leaves nothing running behind it.

use std::future::Future;

use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Where connections and streams are spawned. Clones spawn into the same group.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or its group does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancelled = self.cancelled.clone();
        self.tracker.spawn(async move {
            cancelled.run_until_cancelled(task).await;
        });
    }
}

/// hyper runs each HTTP/2 stream as a task.
impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(async move {
            future.await;
        });
    }
}

/// The group itself. Dropping it cancels its tasks, [`stop`](Self::stop) also waits until they are gone.
#[derive(Debug)]
pub(super) struct TaskGroup {
    tasks: Tasks,
    guard: DropGuard,
}

impl TaskGroup {
    /// A group without tasks.
    pub(super) fn new() -> Self {
        let tasks = Tasks { tracker: TaskTracker::new(), cancelled: CancellationToken::new() };
        let guard = tasks.cancelled.clone().drop_guard();
        Self { tasks, guard }
    }

    /// Where to spawn.
    pub(super) fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Ends the tasks and returns when the last one is gone, with the sockets that they held.
    pub(super) async fn stop(self) {
        let Self { tasks, guard } = self;
        drop(guard);
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }
}
