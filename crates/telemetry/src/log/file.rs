//! A log file that rotates itself (observability reference 3.3).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, tz::TimeZone};
use mosn_config::model::LogRoller;

use super::mill::{self, Mill};
use crate::clock::{self, since_epoch};

/// How long a size rotation that failed is left alone.
const RETRY_SECONDS: u64 = 60;

/// An open log file. Every write is of whole lines, and rotation happens between them.
#[derive(Debug)]
pub(super) struct RollingFile {
    path: PathBuf,
    roller: LogRoller,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// Seconds since the epoch when the file was begun, or, for one found at start, last written.
    created: u64,
    /// In time mode, when the file is to be rotated, in seconds since the epoch.
    rotate_at: Option<u64>,
    /// In size mode, no rotation before this second: one that failed is not tried with every write.
    not_before: u64,
    mill: Mill,
}

impl RollingFile {
    /// Opens the file for appending, with the directories above it. In time mode a file that was last
    /// written longer ago than the period is rotated right away.
    pub(super) fn open(path: &Path, roller: &LogRoller, now: SystemTime) -> io::Result<Self> {
        let (file, size, modified) = open(path)?;
        let now = since_epoch(now).as_secs();
        let created = if size > 0 { modified.min(now) } else { now };
        let mut this = Self {
            path: path.to_owned(),
            roller: roller.clone(),
            file,
            size,
            created,
            rotate_at: None,
            not_before: 0,
            mill: Mill::default(),
        };
        if let Some(period) = this.period() {
            if size > 0 && created + period < now {
                match this.rotate_by_time(now) {
                    // No name is free: the file is continued, as at any later rotation.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    result => result?,
                }
            }
            this.rotate_at = Some(next_boundary(now, period));
        }
        Ok(this)
    }

    /// How long the file may be left alone.
    pub(super) fn until_rotation(&self, now: SystemTime) -> Duration {
        match self.rotate_at {
            Some(at) => Duration::from_secs(at).saturating_sub(since_epoch(now)),
            None => Duration::from_secs(3600),
        }
    }

    /// Appends whole lines, rotating first where that is due. Where a rotation fails, the file at hand
    /// is continued until the next period, or in size mode for a minute.
    pub(super) fn write(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        if let Err(error) = self.rotate_if_due(lines.len() as u64, now) {
            tracing::error!(log = %self.path.display(), "cannot rotate the log: {error}");
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// Closes the file and opens the path anew.
    pub(super) fn reopen(&mut self, now: SystemTime) -> io::Result<()> {
        let (file, size, _) = open(&self.path)?;
        self.file = file;
        self.size = size;
        self.created = since_epoch(now).as_secs();
        Ok(())
    }

    fn period(&self) -> Option<u64> {
        match self.roller {
            LogRoller::Time { hours, .. } => Some(u64::from(hours.max(1)) * 3600),
            LogRoller::Size { .. } => None,
        }
    }

    fn rotate_if_due(&mut self, incoming: u64, now: SystemTime) -> io::Result<()> {
        match (&self.roller, self.period(), self.rotate_at) {
            (_, Some(period), Some(at)) => {
                let now = since_epoch(now).as_secs();
                if now >= at {
                    self.rotate_at = Some(next_boundary(now, period));
                    return self.rotate_by_time(now);
                }
                Ok(())
            }
            (&LogRoller::Size { megabytes, .. }, ..) => {
                let limit = megabytes.saturating_mul(1024 * 1024);
                // An empty file is never rotated: a batch above the limit has to go somewhere.
                let second = since_epoch(now).as_secs();
                if self.size > 0 && self.size.saturating_add(incoming) > limit && second >= self.not_before {
                    self.not_before = second + RETRY_SECONDS;
                    self.rotate_by_size(now)?;
                    self.not_before = 0;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Renames to `<file>.YYYY-MM-DD`, or with `_HH` where the period is not a day, after the time that
    /// the file was begun. Where that name and its numbered variants are taken, the file stays: MOSN
    /// never deletes in this mode, and neither does this.
    fn rotate_by_time(&mut self, now: u64) -> io::Result<()> {
        let LogRoller::Time { hours, keep } = self.roller else { return Ok(()) };
        if self.size == 0 {
            self.created = now;
            return Ok(());
        }
        let layout = if hours == 24 { "%Y-%m-%d" } else { "%Y-%m-%d_%H" };
        let stamp = clock::local(self.created).strftime(layout).to_string();
        let stamped = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{stamp}{suffix}"));
            PathBuf::from(name)
        };
        let mut names =
            std::iter::once(stamped("")).chain((1..=keep).map(|number| stamped(&format!(".{number}"))));
        let Some(free) = names.find(|name| !taken(name)) else {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} and {keep} numbered names after it exist already", stamped("").display()),
            ));
        };
        drop(names);
        self.set_aside(&free)?;
        self.begin(now)
    }

    /// Renames to `<stem>-YYYY-MM-DDTHH-MM-SS.mmm<extension>`; compression and pruning happen aside.
    fn rotate_by_size(&mut self, now: SystemTime) -> io::Result<()> {
        let mut at = since_epoch(now);
        let mut name = mill::backup_name(&self.path, at);
        while taken(&name) {
            at += Duration::from_millis(1);
            name = mill::backup_name(&self.path, at);
        }
        self.set_aside(&name)?;
        self.begin(since_epoch(now).as_secs())?;
        self.mill.start(&self.path, &self.roller, now);
        Ok(())
    }

    /// Renames the file, unless somebody else, say the other process of a hot upgrade, has done so: then
    /// the path is another file's, or nobody's.
    fn set_aside(&self, name: &Path) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) if there.is_file() && (there.dev(), there.ino()) != (ours.dev(), ours.ino()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => fs::rename(&self.path, name),
        }
    }

    fn begin(&mut self, now: u64) -> io::Result<()> {
        let (file, size, _) = open(&self.path)?;
        self.file = file;
        self.size = size;
        self.created = now;
        Ok(())
    }
}

fn taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Opens for appending; also says the size, and the time of the last write in seconds.
fn open(path: &Path) -> io::Result<(File, u64, u64)> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path)?;
    let metadata = file.metadata()?;
    let modified = metadata.modified().map_or(0, |time| since_epoch(time).as_secs());
    Ok((file, metadata.len(), modified))
}

/// The next multiple of the period after `now`, by the local clock.
fn next_boundary(now: u64, period: u64) -> u64 {
    let offset = |second: u64| {
        let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
        i64::from(TimeZone::system().to_offset(timestamp.unwrap_or(Timestamp::MAX)).seconds())
    };
    let here = offset(now);
    let local = now.saturating_add_signed(here);
    let boundary = (local / period + 1) * period;
    let naive = boundary.saturating_add_signed(-here);
    // Daylight saving may begin or end in between.
    naive.saturating_add_signed(here - offset(naive)).max(now + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    const DAILY: LogRoller = LogRoller::Time { hours: 24, keep: 2 };

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn stamp(second: u64, layout: &str) -> String {
        clock::local(second).strftime(layout).to_string()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn set_modified(path: &Path, time: SystemTime) {
        File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_stale_file_is_rotated_at_start_under_the_hour_of_its_last_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/mosn.log");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "old\n").unwrap();
        let now = since_epoch(SystemTime::now()).as_secs();
        set_modified(&path, at(now - 2 * 3600));

        let roller = LogRoller::Time { hours: 1, keep: 10 };
        let mut file = RollingFile::open(&path, &roller, at(now)).unwrap();
        file.write(b"new\n", at(now)).unwrap();
        let rotated = format!("mosn.log.{}", stamp(now - 2 * 3600, "%Y-%m-%d_%H"));
        assert_eq!(names(path.parent().unwrap()), ["mosn.log".to_owned(), rotated.clone()]);
        assert_eq!(fs::read_to_string(path.with_file_name(rotated)).unwrap(), "old\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
    }

    #[test]
    fn a_recent_file_is_continued_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mosn.log");
        fs::write(&path, "old\n").unwrap();
        let now = SystemTime::now();
        RollingFile::open(&path, &DAILY, now).unwrap().write(b"new\n", now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
        assert_eq!(names(dir.path()), ["mosn.log"]);
    }

    #[test]
    fn a_file_is_rotated_at_the_boundary_and_named_after_its_own_day() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let start = 1_700_000_000;
        let mut file = RollingFile::open(&path, &DAILY, at(start)).unwrap();
        file.write(b"one\n", at(start + 1)).unwrap();
        let wait = file.until_rotation(at(start));
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(DAY + 3600));
        let boundary = start + wait.as_secs();
        file.write(b"two\n", at(boundary - 1)).unwrap();
        assert_eq!(names(dir.path()), ["a.log"]);
        file.write(b"three\n", at(boundary)).unwrap();
        let rotated = format!("a.log.{}", stamp(start, "%Y-%m-%d"));
        assert_eq!(names(dir.path()), ["a.log".to_owned(), rotated.clone()]);
        assert_eq!(fs::read_to_string(dir.path().join(rotated)).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn taken_names_get_numbers_and_when_all_are_taken_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let start = 1_700_000_000;
        let name = format!("a.log.{}", stamp(start, "%Y-%m-%d"));
        fs::write(dir.path().join(&name), "taken\n").unwrap();
        let mut file = RollingFile::open(&path, &DAILY, at(start)).unwrap();
        file.write(b"one\n", at(start)).unwrap();
        file.rotate_by_time(start).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap(), "one\n");

        file.write(b"two\n", at(start)).unwrap();
        file.rotate_by_time(start).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(format!("{name}.2"))).unwrap(), "two\n");

        file.write(b"three\n", at(start)).unwrap();
        let error = file.rotate_by_time(start).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        file.write(b"four\n", at(start)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
        assert_eq!(fs::read_to_string(dir.path().join(&name)).unwrap(), "taken\n");
    }

    #[test]
    fn a_file_that_another_process_rotated_is_not_rotated_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let start = 1_700_000_000;
        let [mut old, mut new] = [(); 2].map(|()| RollingFile::open(&path, &DAILY, at(start)).unwrap());
        old.write(b"old\n", at(start)).unwrap();
        new.write(b"new\n", at(start)).unwrap();
        let boundary = start + old.until_rotation(at(start)).as_secs();
        old.write(b"old\n", at(boundary)).unwrap();
        new.write(b"new\n", at(boundary)).unwrap();
        let rotated = format!("a.log.{}", stamp(start, "%Y-%m-%d"));
        assert_eq!(names(dir.path()), ["a.log".to_owned(), rotated.clone()]);
        for name in ["a.log".to_owned(), rotated] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "old\nnew\n");
        }
    }

    #[test]
    fn size_mode_rotates_between_batches_and_never_an_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let roller = LogRoller::Size { megabytes: 1, age_days: 0, keep: 0, compress: false };
        let mut file = RollingFile::open(&path, &roller, SystemTime::now()).unwrap();
        let batch = vec![b'x'; 700 * 1024];
        let huge = vec![b'y'; 2 * 1024 * 1024];
        for lines in [&batch, &batch, &huge] {
            file.write(lines, SystemTime::now()).unwrap();
        }
        file.mill.finish();
        let names = names(dir.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[0].starts_with("a-") && names[0].ends_with(".log"), "{names:?}");
        assert_eq!(fs::metadata(&path).unwrap().len(), huge.len() as u64);
    }

    #[test]
    fn a_rotation_that_fails_is_not_tried_with_every_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let roller = LogRoller::Size { megabytes: 0, age_days: 0, keep: 0, compress: false };
        let mut file = RollingFile::open(&path, &roller, at(0)).unwrap();
        file.write(b"one\n", at(0)).unwrap();
        // The directory is gone, so that neither the old name nor the new can be made.
        fs::remove_dir_all(dir.path()).unwrap();
        fs::write(dir.path(), "in the way").unwrap();
        assert!(file.rotate_if_due(1, at(10)).is_err());
        assert!(file.rotate_if_due(1, at(11)).is_ok());
        assert!(file.rotate_if_due(1, at(10 + RETRY_SECONDS)).is_err());
        fs::remove_file(dir.path()).unwrap();
        file.write(b"two\n", at(200)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn reopening_follows_a_moved_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let now = SystemTime::now();
        let mut file = RollingFile::open(&path, &DAILY, now).unwrap();
        file.write(b"one\n", now).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        file.write(b"two\n", now).unwrap();
        file.reopen(now).unwrap();
        file.write(b"three\n", now).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("moved")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn boundaries_are_multiples_of_the_period_on_the_local_clock() {
        for now in [1_700_000_000, 1_711_846_800, 1_730_000_000] {
            for hours in [1, 5, 24] {
                let boundary = next_boundary(now, hours * 3600);
                assert!(boundary > now && boundary <= now + (hours + 1) * 3600);
                let local = clock::local(boundary);
                assert_eq!((local.minute(), local.second()), (0, 0));
                if hours == 24 {
                    assert_eq!(local.hour(), 0);
                }
            }
        }
    }
}
