//! What follows a change, on a thread of its own that starts with the first one: what the change
//! replaced is freed once nobody uses it any more, and files are written.

use std::{
    any::Any,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mosn_config::{EffectiveConfig, WriteBack};

/// From a change until files are written; those that come meanwhile are written with it.
const WRITE_DELAY: Duration = Duration::from_secs(3);

/// How often it is looked whether something is still in use.
const LOOK: Duration = Duration::from_millis(500);

/// The configuration in effect, as whoever changes it shares it with whoever writes it.
pub(crate) type Effective = Arc<Mutex<Arc<EffectiveConfig>>>;

#[derive(Debug)]
pub(crate) struct Aftermath(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    effective: Effective,
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Debug)]
struct Work {
    /// `None` = no files are written; the thread has it while it runs.
    write_back: Option<WriteBack>,
    writes_back: bool,
    write_at: Option<Instant>,
    retired: Vec<Arc<dyn Any + Send + Sync>>,
    thread: Option<JoinHandle<()>>,
    stop: bool,
}

impl Aftermath {
    pub(crate) fn new(effective: Effective, write_back: Option<WriteBack>) -> Self {
        let work = Work {
            writes_back: write_back.is_some(),
            write_back,
            write_at: None,
            retired: Vec::new(),
            thread: None,
            stop: false,
        };
        Self(Arc::new(Shared { effective, work: Mutex::new(work), wake: Condvar::new() }))
    }

    /// Takes what a change has replaced.
    pub(crate) fn add<T: Send + Sync + 'static>(&self, replaced: impl IntoIterator<Item = Arc<T>>) {
        let mut work = self.0.work();
        work.retired.extend(replaced.into_iter().map(|old| old as Arc<dyn Any + Send + Sync>));
        if work.writes_back {
            work.write_at.get_or_insert_with(|| Instant::now() + WRITE_DELAY);
        }
        if work.thread.is_none() && !work.stop {
            let shared = Arc::clone(&self.0);
            let write_back = work.write_back.take();
            let thread = std::thread::Builder::new().name("mosn-updates".into());
            match thread.spawn(move || shared.run(write_back)) {
                Ok(thread) => work.thread = Some(thread),
                Err(error) => tracing::error!("nothing is written back: no thread: {error}"),
            }
        }
        drop(work);
        self.0.wake.notify_one();
    }

    /// Writes what is not yet written, and ends.
    pub(crate) fn finish(&self) {
        let mut work = self.0.work();
        work.stop = true;
        let thread = work.thread.take();
        drop(work);
        self.0.wake.notify_one();
        if let Some(thread) = thread {
            // A panic of the thread was logged when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut write_back: Option<WriteBack>) {
        let mut last_failure = String::new();
        loop {
            let mut work = self.work();
            let stop = work.stop;
            let now = Instant::now();
            let due = work.write_at.take_if(|at| stop || *at <= now).is_some();
            let (unused, used) = std::mem::take(&mut work.retired)
                .into_iter()
                .partition::<Vec<_>, _>(|old| Arc::strong_count(old) == 1);
            work.retired = used;
            let nothing = !due && unused.is_empty();
            if nothing && stop {
                return;
            }
            if nothing {
                let look = (!work.retired.is_empty()).then_some(LOOK);
                let write = work.write_at.map(|at| at.saturating_duration_since(now));
                let wait = look.into_iter().chain(write).min().unwrap_or(Duration::MAX);
                drop(self.wake.wait_timeout(work, wait));
                continue;
            }
            drop(work);
            drop(unused);
            if let Some(write_back) = write_back.as_mut().filter(|_| due) {
                let effective = self.effective.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let failure = write_back.write(&effective).err().map(|error| error.to_string());
                if failure.is_some() && !stop {
                    self.work().write_at.get_or_insert(now + WRITE_DELAY);
                }
                let failure = failure.unwrap_or_default();
                // What fails goes on failing, and is tried again and again.
                if failure != last_failure && !failure.is_empty() {
                    tracing::error!(alert = "mosn.config.write_back", "[write back] {failure}");
                } else if failure.is_empty() {
                    tracing::info!("[write back] the configuration's files are as the process runs");
                }
                last_failure = failure;
            }
        }
    }
}
