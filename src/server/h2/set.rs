//! Futures that are polled by one task: those that were woken, when that task is.
//!
//! A task of the runtime for each would be allocated, copied into its place, scheduled, and would have to wake the task
//! of its connection, which then sends what it said. Polled by that very task, what is said is sent at once.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// So many places of futures that have ended are kept for the next.
const SPARE: usize = 10;

/// A place that a future is put into, and stays in.
type Room<F> = Pin<Box<Option<F>>>;

/// Futures, and the task that polls them. It has something of its own to poll as well: its owner, which is woken like
/// they are.
pub(super) struct FutureSet<F> {
    groups: Vec<Group<F>>,
    spare: Vec<Room<F>>,
    task: Arc<Task>,
}

/// As many futures as there are bits.
struct Group<F> {
    places: Vec<Place<F>>,
    /// Which of the places are in use, and which were woken.
    taken: u64,
    woken: Arc<AtomicU64>,
}

struct Place<F> {
    room: Option<Room<F>>,
    waker: Waker,
}

/// The task, and whether there is something to be done.
struct Task {
    waker: AtomicWaker,
    /// Whether it is running, and will look for what was woken before it rests.
    is_awake: AtomicBool,
    is_owner_woken: AtomicBool,
}

/// Wakes the future of one place.
struct Bell {
    task: Arc<Task>,
    woken: Arc<AtomicU64>,
    bit: u64,
}

impl<F: Future<Output = ()>> FutureSet<F> {
    /// No future. The owner counts as woken, since it has never been polled.
    pub(super) fn none() -> Self {
        let task = Arc::new(Task {
            waker: AtomicWaker::new(),
            is_awake: AtomicBool::new(false),
            is_owner_woken: AtomicBool::new(true),
        });
        Self { groups: Vec::new(), spare: Vec::new(), task }
    }

    /// Adds a future, which is polled as if it had been woken.
    #[inline]
    pub(super) fn push(&mut self, future: F) {
        let group = match self.groups.iter_mut().find(|group| group.taken != u64::MAX) {
            Some(group) => group,
            None => self.groups.push_mut(Group { places: Vec::new(), taken: 0, woken: Arc::default() }),
        };
        let at = group.taken.trailing_ones() as usize;
        let bit = 1 << at;
        if at == group.places.len() {
            let bell = Bell { task: Arc::clone(&self.task), woken: Arc::clone(&group.woken), bit };
            group.places.push(Place { room: None, waker: Waker::from(Arc::new(bell)) });
        }
        let mut room = self.spare.pop().unwrap_or_else(|| Box::pin(None));
        room.set(Some(future));
        group.places[at].room = Some(room);
        group.taken |= bit;
        group.woken.fetch_or(bit, SeqCst);
    }

    /// The task begins to run. Until it rests, what is woken does not wake it.
    pub(super) fn rise(&self, cx: &Context<'_>) {
        self.task.waker.register(cx.waker());
        self.task.is_awake.store(true, SeqCst);
    }

    /// The task is about to wait. It is woken at once where something is still to be polled.
    pub(super) fn rest(&self, cx: &Context<'_>) {
        self.task.is_awake.store(false, SeqCst);
        if self.is_owner_woken() || self.groups.iter().any(|group| group.woken.load(SeqCst) != 0) {
            cx.waker().wake_by_ref();
        }
    }

    /// What the owner is to be woken by.
    pub(super) fn owner(&self) -> Waker {
        Waker::from(Arc::clone(&self.task))
    }

    /// Whether the owner was woken since it was last taken up.
    pub(super) fn is_owner_woken(&self) -> bool {
        self.task.is_owner_woken.load(SeqCst)
    }

    /// The same; it is about to be polled.
    pub(super) fn take_up_owner(&self) -> bool {
        self.task.is_owner_woken.swap(false, SeqCst)
    }

    /// Polls the futures that were woken, each once, and forgets those that end. One that panics has ended: it takes no
    /// other along.
    pub(super) fn poll(&mut self) {
        for group in &mut self.groups {
            if group.woken.load(SeqCst) == 0 {
                continue;
            }
            let mut woken = group.woken.swap(0, SeqCst) & group.taken;
            while woken != 0 {
                let at = woken.trailing_zeros() as usize;
                woken &= woken - 1;
                let Place { room, waker } = &mut group.places[at];
                let Some(future) = room.as_mut().and_then(|room| room.as_mut().as_pin_mut()) else { continue };
                let mut cx = Context::from_waker(waker);
                match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
                    Ok(Poll::Pending) => continue,
                    Ok(Poll::Ready(())) => {}
                    Err(_) => tracing::error!("a request has panicked; its stream is reset, the others go on"),
                }
                group.taken &= !(1 << at);
                if let Some(mut room) = room.take() {
                    room.set(None);
                    if self.spare.len() < SPARE {
                        self.spare.push(room);
                    }
                }
            }
        }
    }
}

impl<F> Drop for FutureSet<F> {
    fn drop(&mut self) {
        // A bell may outlive the task, in a timer for instance, and would keep its room.
        drop(self.task.waker.take());
    }
}

impl Task {
    fn ring(&self) {
        if !self.is_awake.load(SeqCst) {
            self.waker.wake();
        }
    }
}

/// Wakes the owner.
impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_owner_woken.store(true, SeqCst);
        self.ring();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.fetch_or(self.bit, SeqCst);
        self.task.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::poll_fn,
        rc::Rc,
        sync::atomic::AtomicUsize,
    };

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = ()>>>;

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    impl Woken {
        fn take(&self) -> usize {
            self.0.swap(0, SeqCst)
        }
    }

    /// A future that leaves its waker, says when it is polled, and ends when it is told.
    #[derive(Clone, Default)]
    struct Told {
        waker: Rc<RefCell<Option<Waker>>>,
        polls: Rc<Cell<usize>>,
        may_end: Rc<Cell<bool>>,
    }

    impl Told {
        fn future(&self) -> Boxed {
            let told = self.clone();
            Box::pin(poll_fn(move |cx| {
                told.polls.set(told.polls.get() + 1);
                told.waker.replace(Some(cx.waker().clone()));
                if told.may_end.get() { Poll::Ready(()) } else { Poll::Pending }
            }))
        }

        fn wake(&self) {
            self.waker.borrow().as_ref().expect("polled").wake_by_ref();
        }
    }

    fn run(set: &mut FutureSet<Boxed>, cx: &Context<'_>) {
        set.rise(cx);
        set.poll();
        set.rest(cx);
    }

    #[test]
    fn only_what_was_woken_is_polled() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut set = FutureSet::none();
        assert!(set.take_up_owner() && !set.take_up_owner(), "it is to be polled first");
        // More than one word of bits.
        let all: Vec<Told> = (0..150).map(|_| Told::default()).collect();
        for told in &all {
            set.push(told.future());
        }
        run(&mut set, &cx);
        assert_eq!(woken.take(), 0);
        for at in [0, 63, 64, 149] {
            all[at].wake();
        }
        assert_eq!(woken.take(), 1, "once for all");
        run(&mut set, &cx);
        for (at, told) in all.iter().enumerate() {
            assert_eq!(told.polls.get(), if [0, 63, 64, 149].contains(&at) { 2 } else { 1 }, "{at}");
        }
    }

    #[test]
    fn a_task_that_runs_is_woken_only_for_what_it_leaves() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut set = FutureSet::none();
        let owner = set.owner();
        assert!(set.take_up_owner());
        let told = Told::default();
        set.push(told.future());
        run(&mut set, &cx);
        set.rise(&cx);
        told.wake();
        owner.wake_by_ref();
        assert_eq!(woken.take(), 0);
        assert!(set.take_up_owner());
        set.poll();
        set.rest(&cx);
        assert_eq!((woken.take(), told.polls.get()), (0, 2));
        // Woken after its turn, by itself as it may be, or by the owner.
        set.rise(&cx);
        set.poll();
        told.wake();
        set.rest(&cx);
        assert_eq!(woken.take(), 1);
        run(&mut set, &cx);
        set.rise(&cx);
        owner.wake_by_ref();
        set.rest(&cx);
        assert_eq!((woken.take(), set.is_owner_woken()), (1, true));
    }

    #[test]
    fn a_place_is_used_again_and_an_old_waker_harms_nobody() {
        let waker = Waker::noop();
        let cx = Context::from_waker(waker);
        let mut set = FutureSet::none();
        set.take_up_owner();
        let first = Told::default();
        set.push(first.future());
        run(&mut set, &cx);
        first.may_end.set(true);
        first.wake();
        run(&mut set, &cx);
        assert_eq!(Rc::strong_count(&first.polls), 1, "it is gone");
        first.wake();
        run(&mut set, &cx);
        let second = Told::default();
        set.push(second.future());
        run(&mut set, &cx);
        first.wake();
        run(&mut set, &cx);
        assert_eq!((first.polls.get(), second.polls.get()), (2, 2));
        assert_eq!(set.groups[0].places.len(), 1);
    }

    #[test]
    fn one_that_panics_takes_no_other_along() {
        let cx = Context::from_waker(Waker::noop());
        let mut set: FutureSet<Boxed> = FutureSet::none();
        set.take_up_owner();
        let told = Told::default();
        set.push(Box::pin(poll_fn(|_| std::panic::resume_unwind(Box::new("broken")))));
        set.push(told.future());
        run(&mut set, &cx);
        assert_eq!((told.polls.get(), set.groups[0].taken), (1, 0b10));
    }

    #[test]
    fn all_end_with_the_set() {
        let mut set = FutureSet::none();
        let told = Told::default();
        set.push(told.future());
        drop(set);
        assert_eq!(Rc::strong_count(&told.polls), 1);
    }
}
