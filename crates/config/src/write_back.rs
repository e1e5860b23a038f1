//! Keeping the files of a configuration as the process runs.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::effective::{EffectiveConfig, FolderState, Text};
use crate::load::Format;

/// Writes a configuration to where it was read from: the file, and the folders that it names.
///
/// A file is replaced as a whole or not at all, and keeps its mode. What did not change is not
/// touched. In folders there is one file for each object, named after it; other `.json` files are
/// removed, as in MOSN, since they would come back at the next start. Anything else there stays.
#[derive(Debug)]
pub struct WriteBack {
    file: PathBuf,
    /// The hash of the file's text when it was last written.
    last: Option<u64>,
    hasher: ahash::RandomState,
    /// By path, what each of a folder's files holds.
    folders: HashMap<String, HashMap<String, Text>>,
}

/// Why a configuration could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteBackError {
    /// A file or folder.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Two tables, or a table and the clusters, name the same folder.
    #[error(
        "the folder {folder} is named twice, so that what is written for one would be lost for the other: give each a folder of its own"
    )]
    SharedFolder {
        /// The folder.
        folder: String,
    },
}

/// Longest name of a file without its extension, in bytes.
const LONGEST_NAME: usize = 128;

impl WriteBack {
    /// For a configuration that was read from `file`.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, last: None, hasher: ahash::RandomState::new(), folders: HashMap::new() }
    }

    /// Writes what is not yet written.
    ///
    /// # Errors
    /// If a file or folder cannot be written; what is missing then is written the next time.
    pub fn write(&mut self, config: &EffectiveConfig) -> Result<(), WriteBackError> {
        let mut paths = HashSet::new();
        let folders = config.folders();
        if let Some(twice) = folders.iter().find(|folder| !paths.insert(folder.path)) {
            return Err(WriteBackError::SharedFolder { folder: twice.path.to_owned() });
        }
        for folder in folders {
            self.folder(config, &folder)?;
        }
        let text = config.to_file(Format::of_path(&self.file));
        let hash = Some(self.hasher.hash_one(&text));
        if self.last != hash {
            replace(&self.file, &text)?;
            self.last = hash;
        }
        Ok(())
    }

    fn folder(&mut self, config: &EffectiveConfig, folder: &FolderState<'_>) -> Result<(), WriteBackError> {
        let path = Path::new(folder.path);
        let failed = |source| WriteBackError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let there = fs::read_dir(path)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<HashSet<_>>>()
            })
            .map_err(failed)?;
        let files = self
            .folders
            .entry(folder.path.to_owned())
            .or_insert_with(|| folder.files.iter().cloned().collect());
        let mut names = HashSet::new();
        for (name, text) in &folder.objects {
            let name = file_name(name, text, files, &names);
            let written = there.contains(Path::new(&name).as_os_str())
                && files.get(&name).is_some_and(|written| written.is(text));
            if !written {
                replace(&path.join(&name), &config.to_object_file(text))?;
                files.insert(name.clone(), Text::clone(text));
            }
            names.insert(name);
        }
        files.retain(|name, _| names.contains(name));
        for name in there {
            let Some(text) = name.to_str() else { continue };
            let ours = text.ends_with(".json") || text.ends_with(".json.tmp");
            if ours && !names.contains(text) {
                let path = path.join(&name);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(WriteBackError::Io { path, source });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The name of an object's file: the object's, as far as a file can have it, and unlike the others'. An
/// object without a name keeps the file that it came from, or gets a number.
fn file_name(name: &str, text: &Text, files: &HashMap<String, Text>, taken: &HashSet<String>) -> String {
    if name.is_empty()
        && let Some((own, _)) =
            files.iter().find(|(own, written)| written.is(text) && !taken.contains(own.as_str()))
    {
        return own.clone();
    }
    let stem = match name {
        "" => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string(),
        name => {
            let end = (0..=LONGEST_NAME).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
            let short = if name.len() > LONGEST_NAME { &name[..end] } else { name };
            short.replace(|c: char| c == '/' || c.is_control(), "_")
        }
    };
    let numbered = (2..).map(|number| format!("{stem}-{number}.json"));
    let mut candidates = std::iter::once(format!("{stem}.json")).chain(numbered);
    candidates.find(|name| !taken.contains(name)).unwrap_or_default()
}

/// Puts a text in the place of a file's: whoever reads it finds the old or the new one.
fn replace(path: &Path, text: &str) -> Result<(), WriteBackError> {
    // A link stays one: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = fs::metadata(&path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    let mut aside = path.clone().into_os_string();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let written = write_new(&aside, mode, text).and_then(|()| fs::rename(&aside, &path));
    written.map_err(|source| {
        // It may not be there; the failure that counts is the one that is reported.
        let _ = fs::remove_file(&aside);
        WriteBackError::Io { path, source }
    })
}

/// On the disk before it takes the old file's place: after a crash there is no empty one.
fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
