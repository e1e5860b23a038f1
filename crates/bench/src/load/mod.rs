//! The load generator.

mod connection;
mod plan;
mod schedule;
mod slots;
mod tally;
mod worker;

use std::{
    io::{IsTerminal, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use self::tally::{Errors, Tally, Window};
use self::{
    plan::Plan,
    schedule::{Schedule, nanos},
    worker::{Progress, Worker},
};
use crate::{
    cli::{LoadArgs, MAX_IN_FLIGHT, RunError, grouped},
    dialect,
    report::Report,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptors that a run needs besides its connections.
const OTHER_DESCRIPTORS: u64 = 32;

/// Runs the load, shows the result, and says whether all went well.
pub(crate) fn run(args: &LoadArgs) -> Result<ExitCode, RunError> {
    let report = measure(args)?;
    print!("{report}");
    if let Some(path) = &args.json {
        report.write(path).map_err(|source| RunError::Json { path: path.clone(), source })?;
    }
    let well = match report.errors.total {
        0 => report.replies > 0,
        _ => args.allow_errors,
    };
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the load.
pub(crate) fn measure(args: &LoadArgs) -> Result<Report, RunError> {
    let (connections, outstanding) = (args.connections, args.outstanding);
    if connections.saturating_mul(outstanding) > MAX_IN_FLIGHT {
        return Err(RunError::TooMuchInFlight { connections, outstanding });
    }
    let dialect =
        dialect::by_name(&args.protocol).unwrap_or_else(|| unreachable!("the parser knows the names"));
    let from = nanos(args.warmup);
    let plan = Plan::new(dialect, args, Window { from, to: from + nanos(args.duration) })?;
    let need = connections as u64 + OTHER_DESCRIPTORS;
    let limit = raise_descriptor_limit();
    if need > limit {
        return Err(RunError::Descriptors { connections, need, limit });
    }

    let threads = args.threads.min(connections);
    let target = resolve(&args.target)?;
    let mut dealt: Vec<Vec<TcpStream>> = (0..threads).map(|_| Vec::new()).collect();
    for number in 0..connections {
        let stream = connect(target).map_err(|source| RunError::Connect {
            target,
            number: number + 1,
            of: connections,
            source,
        })?;
        dealt[number % threads].push(stream);
    }

    let progress: Vec<_> = (0..threads).map(|_| Progress::default()).collect();
    let (stop, running) = (AtomicBool::new(false), AtomicUsize::new(threads));
    let cpu_before = cpu_seconds();
    let start = Instant::now() + Duration::from_millis(5);
    let tally = thread::scope(|scope| {
        let workers: Vec<_> = dealt
            .into_iter()
            .enumerate()
            .map(|(at, streams)| {
                let worker = Worker {
                    plan: &plan,
                    target,
                    schedule: args.rate.map(|rate| Schedule::new(rate, at, threads, streams.len())),
                    progress: &progress[at],
                    stop: &stop,
                    tag: ((u64::from(u32::MAX) + 1) / threads as u64 * at as u64) as u32,
                };
                let running = &running;
                scope.spawn(move || {
                    let done = worker.run(streams, start);
                    running.fetch_sub(1, Ordering::Relaxed);
                    done
                })
            })
            .collect();
        watch(args, &progress, &running, &stop);
        let mut sum = Tally::new(plan.window);
        for worker in workers {
            let done = worker.join().map_err(|_| RunError::Thread("the generator".into()))?;
            let done = done.map_err(RunError::io("the event loop failed"))?;
            sum.window.to = sum.window.to.min(done.window.to);
            sum.add(&done);
        }
        Ok::<_, RunError>(sum)
    })?;
    Ok(Report::new(args, target, threads, &tally, cpu_seconds() - cpu_before))
}

/// Lets the process open as many descriptors as it may; returns how many those are.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

fn resolve(target: &str) -> Result<SocketAddr, RunError> {
    let error = |reason: String| RunError::Resolve { target: target.into(), reason };
    let mut found = target.to_socket_addrs().map_err(|source| error(source.to_string()))?;
    found.next().ok_or_else(|| error("it has no address".into()))
}

fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Shows how it goes, where somebody can see it, until all threads are done. An interrupt ends the
/// run early, with a result.
fn watch(args: &LoadArgs, progress: &[Progress], running: &AtomicUsize, stop: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let is_seen = std::io::stderr().is_terminal();
    let total = args.warmup + args.duration;
    runtime.block_on(async {
        let begin = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let (mut shown_at, mut shown_replies) = (begin, 0);
        while running.load(Ordering::Relaxed) > 0 {
            tokio::select! {
                _ = tick.tick() => {}
                _ = tokio::signal::ctrl_c() => stop.store(true, Ordering::Relaxed),
            }
            let since = shown_at.elapsed();
            if is_seen && since >= Duration::from_millis(500) {
                let sum = |count: fn(&Progress) -> u64| progress.iter().map(count).sum::<u64>();
                let replies = sum(|one| one.replies.load(Ordering::Relaxed));
                let rate = (replies - shown_replies) as f64 / since.as_secs_f64();
                let errors = sum(|one| one.errors.load(Ordering::Relaxed));
                eprint!(
                    "\r{:6.1} of {:.1} s {:>14} replies/s {:>10} errors ",
                    begin.elapsed().as_secs_f64(),
                    total.as_secs_f64(),
                    grouped(rate as u64),
                    grouped(errors)
                );
                let _ = std::io::stderr().flush();
                (shown_at, shown_replies) = (Instant::now(), replies);
            }
        }
        if is_seen {
            eprint!("\r{:70}\r", "");
        }
    });
}

#[cfg(test)]
mod tests;
