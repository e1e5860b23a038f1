//! What happens to files that size rotation set aside: gzip, and removal by number and age.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use jiff::civil::DateTime;
use mosn_config::model::LogRoller;

use crate::clock::{self, since_epoch};

const LAYOUT: &str = "%Y-%m-%dT%H-%M-%S";

/// Runs on a thread of its own, one at a time: gzipping a gigabyte takes longer than the log's queue
/// could wait.
#[derive(Debug, Default)]
pub(super) struct Mill(Option<JoinHandle<()>>);

impl Mill {
    /// Starts unless it still runs; what it then misses is picked up after the next rotation.
    pub(super) fn start(&mut self, path: &Path, roller: &LogRoller, now: SystemTime) {
        let &LogRoller::Size { age_days, keep, compress, .. } = roller else { return };
        if self.0.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let path = path.to_owned();
        let work = move || {
            if let Err(error) = mill(&path, age_days, keep, compress, now) {
                tracing::error!(log = %path.display(), "cannot tidy up rotated logs: {error}");
            }
        };
        // Without a thread there is nothing to do but to try after the next rotation.
        self.0 = std::thread::Builder::new().name("mosn-log-mill".into()).spawn(work).ok();
    }

    #[cfg(test)]
    pub(super) fn finish(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().expect("the mill does not panic");
        }
    }
}

/// `<stem>-YYYY-MM-DDTHH-MM-SS.mmm<extension>` beside the file, in local time.
pub(super) fn backup_name(path: &Path, at: Duration) -> PathBuf {
    let (stem, extension) = split(path);
    let stamp = clock::local(at.as_secs()).strftime(LAYOUT).to_string();
    path.with_file_name(format!("{stem}-{stamp}.{:03}{extension}", at.subsec_millis()))
}

/// The file's name before its extension, and the extension with its dot.
fn split(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|_| format!(".{}", text(path.extension()))).unwrap_or_default();
    (text(path.file_stem()), extension)
}

/// A file that rotation set aside.
struct Backup {
    path: PathBuf,
    at: DateTime,
    millis: u32,
    zipped: bool,
}

fn mill(path: &Path, age_days: u32, keep: u32, compress: bool, now: SystemTime) -> io::Result<()> {
    let mut backups = backups(path)?;
    backups.sort_by_key(|backup| std::cmp::Reverse((backup.at, backup.millis)));
    let oldest = clock::local(since_epoch(now).as_secs().saturating_sub(u64::from(age_days) * 24 * 3600));
    for (index, backup) in backups.iter().enumerate() {
        let too_many = keep > 0 && index >= keep as usize;
        let too_old = age_days > 0 && backup.at < oldest;
        if too_many || too_old {
            fs::remove_file(&backup.path)?;
        } else if compress && !backup.zipped {
            gzip(&backup.path)?;
        }
    }
    Ok(())
}

/// The files beside `path` that bear a name of [`backup_name`], and no others.
fn backups(path: &Path) -> io::Result<Vec<Backup>> {
    let (stem, extension) = split(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut backups = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (plain, zipped) = name.strip_suffix(".gz").map_or((&*name, false), |plain| (plain, true));
        let stamp = plain
            .strip_prefix(&*stem)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(&*extension));
        let Some((time, millis)) = stamp.and_then(|stamp| stamp.split_once('.')) else { continue };
        if let (Ok(at), Ok(millis), 3) = (DateTime::strptime(LAYOUT, time), millis.parse(), millis.len()) {
            backups.push(Backup { path: entry.path(), at, millis, zipped });
        }
    }
    Ok(backups)
}

/// Replaces a file by its gzip. The name appears only once its content is whole.
fn gzip(path: &Path) -> io::Result<()> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (partial, whole) = (named(".gz.partial"), named(".gz"));
    let mut from = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::default());
    let copied = io::copy(&mut from, &mut encoder).and_then(|_| encoder.finish());
    if let Err(error) = copied {
        // The log itself is still there, uncompressed; that matters more than the remains.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::rename(partial, whole)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_files_stay_zipped_and_only_our_own_are_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let now = 1_700_000_000_u64;
        let at = |days: u64| backup_name(&path, Duration::from_secs(now - days * DAY));
        for days in [1, 2, 3, 4] {
            fs::write(at(days), format!("{days}\n")).unwrap();
        }
        for other in ["a.log", "a-notes.log", "b-2023-01-01T00-00-00.000.log", "a-2023-01-01T00-00-00.log"] {
            fs::write(dir.path().join(other), "mine\n").unwrap();
        }
        mill(&path, 0, 2, true, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).unwrap();

        let zipped = |days| format!("{}.gz", at(days).file_name().unwrap().to_str().unwrap());
        let mut expected = vec![zipped(1), zipped(2)];
        expected.extend(
            ["a.log", "a-notes.log", "b-2023-01-01T00-00-00.000.log", "a-2023-01-01T00-00-00.log"]
                .map(String::from),
        );
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        let mut text = String::new();
        let file = File::open(dir.path().join(zipped(2))).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "2\n");
    }

    #[test]
    fn files_older_than_the_age_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let now = 1_700_000_000_u64;
        for days in [1, 6, 8] {
            fs::write(backup_name(&path, Duration::from_secs(now - days * DAY)), "").unwrap();
        }
        mill(&path, 7, 0, false, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
    }
}
