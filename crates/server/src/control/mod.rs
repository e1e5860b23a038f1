//! The control thread: everything that is done from time to time rather than for a request. It
//! follows the clusters by itself, however they change.

mod checks;
mod discovery;
mod names;
mod outliers;
mod probe;
mod queue;
mod subsets;

use std::{io, rc::Rc, thread::JoinHandle, time::Duration};

use mosn_telemetry::{LogHandle, Registry};
use mosn_upstream::Clusters;
use tokio::sync::oneshot;

use self::{checks::Checks, discovery::Sources, outliers::Outliers, subsets::SubsetGauges};

/// How often outlier detection is looked after, and gauges are brought up to date.
const TICK: Duration = Duration::from_millis(250);

/// The thread, while it runs.
#[derive(Debug)]
pub(crate) struct Control {
    /// Ends it when dropped.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts it.
    pub(crate) fn start(clusters: Clusters, registry: Registry, logs: LogHandle) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mosn-control".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(run(clusters, registry, logs, stopped));
                    // A look-up of a name may hang; it must not hold up the end.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!("the control thread has no event loop: {error}"),
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it. Checks under way are dropped.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // A panic in there was logged when it happened.
        let _ = self.thread.join();
    }
}

async fn run(clusters: Clusters, registry: Registry, logs: LogHandle, mut stopped: oneshot::Receiver<()>) {
    let mut watch = clusters.watch();
    let mut sources = Sources::new(clusters.clone());
    let checks = Rc::new(Checks::new(clusters, registry.clone(), logs));
    tokio::task::spawn_local(Rc::clone(&checks).drive());
    let (mut outliers, mut subsets) = (Outliers::new(registry.clone()), SubsetGauges::new(registry));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changes = watch.changed() => {
                for change in &changes {
                    sources.follow(change);
                    outliers.follow(change);
                    subsets.follow(change);
                }
                checks.follow(&changes);
            }
            now = tick.tick() => {
                outliers.tick(now.into_std());
                subsets.tick();
            }
            _ = &mut stopped => return,
        }
    }
}
