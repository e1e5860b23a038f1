use std::path::{Path, PathBuf, absolute};

/// Where the process keeps its files, derived from where its configuration file is.
///
/// With the file at `/x/conf/mosn.json` the base is `/x`, and logs go to `/x/logs`. A file whose folder
/// lies directly under the root gives no base: that is then `/home/admin/mosn`, as in MOSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The configuration file, absolute.
    pub config_file: PathBuf,
    /// Where shared-memory files and, by default, sockets are.
    pub config_dir: PathBuf,
    /// What the other folders lie in.
    pub base: PathBuf,
    /// Where logs and the pid file are.
    pub logs: PathBuf,
    /// Where the sockets of a hot upgrade are: `uds_dir`, or `config_dir`.
    pub sockets: PathBuf,
}

impl Paths {
    /// Those that follow from the configuration file's path; `uds_dir` is the key, or empty.
    ///
    /// Relative paths are taken from the working directory.
    #[must_use]
    pub fn derive(config_file: &Path, uds_dir: &str) -> Self {
        let config_file = absolute(config_file).unwrap_or_else(|_| config_file.to_owned());
        let folder = config_file.parent().map(Path::to_owned).unwrap_or_default();
        let (base, config_dir) = match folder.parent() {
            Some(base) if base.parent().is_some() => (base.to_owned(), folder),
            _ => {
                let base = PathBuf::from("/home/admin/mosn");
                let config_dir = base.join("conf");
                (base, config_dir)
            }
        };
        let sockets = if uds_dir.is_empty() {
            config_dir.clone()
        } else {
            absolute(uds_dir).unwrap_or_else(|_| PathBuf::from(uds_dir))
        };
        Self { logs: base.join("logs"), config_file, config_dir, base, sockets }
    }

    /// Where the error log goes by default.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        self.logs.join("mosn.log")
    }

    /// Where the access log of a listener goes by default.
    #[must_use]
    pub fn access_log(&self, listener: &str) -> PathBuf {
        self.logs.join(format!("{listener}_access.log"))
    }

    /// Where the pid file is by default.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.logs.join("mosn.pid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lie_beside_the_folder_of_the_file() {
        let paths = Paths::derive(Path::new("/opt/mosn/conf/c.json"), "");
        assert_eq!(paths.error_log(), Path::new("/opt/mosn/logs/mosn.log"));
        assert_eq!(paths.pid_file(), Path::new("/opt/mosn/logs/mosn.pid"));
        assert_eq!(paths.access_log("in"), Path::new("/opt/mosn/logs/in_access.log"));
        assert_eq!(paths.sockets, Path::new("/opt/mosn/conf"));
    }

    #[test]
    fn a_file_in_a_top_level_folder_gives_mosns_own_base() {
        for file in ["/x/c.json", "/c.json"] {
            let paths = Paths::derive(Path::new(file), "");
            assert_eq!(paths.logs, Path::new("/home/admin/mosn/logs"));
            assert_eq!(paths.config_dir, Path::new("/home/admin/mosn/conf"));
        }
    }

    #[test]
    fn uds_dir_moves_the_sockets_only() {
        let paths = Paths::derive(Path::new("/x/c.json"), "/run/mosn");
        assert_eq!(paths.sockets, Path::new("/run/mosn"));
        assert_eq!(paths.config_dir, Path::new("/home/admin/mosn/conf"));
    }
}
