//! A file of hosts, which is read again and again while the process runs.

use std::path::Path;

use crate::document::{Document, Findings};
use crate::load::{Format, read, with_tree};
use crate::model::HostSpec;
use crate::mosn::Host;
use crate::problem::{Problem, Problems, Severity};
use crate::translate::{Names, host};
use crate::tree::{Kind, Tree};

/// Reads a list of hosts, written like the key `hosts` of a cluster, in JSON or YAML by the file's
/// name.
///
/// # Errors
/// Everything that is wrong with it, an unknown key included, or that it cannot be read.
pub fn hosts_file(path: &Path) -> Result<Vec<HostSpec>, Problems> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        // A pipe would keep its reader waiting, and a device might never end.
        return Err(Problems(vec![Problem::of_file(path, Severity::Error, "is not a regular file".into())]));
    }
    let text = read(path).map_err(|problem| Problems(vec![problem]))?;
    let findings = Findings::new(true);
    let hosts = with_tree(&text, Format::of_path(path), path, &findings, |tree| {
        let document = Document::new(path.to_owned(), tree, &findings);
        let (at, mut names) = (document.at(Tree::ROOT), Names::default());
        // Nothing at all is what a YAML file holds while it is written; no hosts are `[]`.
        if tree.kind(Tree::ROOT) == Kind::Null {
            at.error("expected a list of hosts; write [] for none");
            return None;
        }
        let given: Vec<Host> = document.decode(Tree::ROOT)?;
        Some(
            given
                .iter()
                .enumerate()
                .map(|(index, given)| host(&at.index(index), given, &mut names))
                .collect(),
        )
    });
    match hosts.flatten() {
        Some(hosts) if !findings.has_errors() => Ok(hosts),
        _ => Err(Problems(findings.into_problems(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let hosts = hosts_file(&path).map_err(|problems| problems.to_string())?;
        Ok(hosts.iter().map(|host| format!("{} {}", host.address, host.weight)).collect())
    }

    #[test]
    fn hosts_come_as_json_or_yaml() {
        let json = r#"[{"address":"127.0.0.1:80","weight":3},{"address":"a.b:81"}]"#;
        assert_eq!(read_as("hosts.json", json).unwrap(), ["127.0.0.1:80 3", "a.b:81 1"]);
        let yaml = "- address: 127.0.0.1:80\n  weight: 3\n- address: a.b:81\n";
        assert_eq!(read_as("hosts.yaml", yaml).unwrap(), ["127.0.0.1:80 3", "a.b:81 1"]);
        assert!(read_as("hosts.json", "[]").unwrap().is_empty());
    }

    #[test]
    fn a_file_without_a_list_is_not_an_empty_list() {
        for text in ["", "# hosts follow\n", "---\n", "null\n", "~\n"] {
            let error = read_as("hosts.yaml", text).unwrap_err();
            assert!(error.contains("expected a list of hosts"), "{text:?}: {error}");
        }
        assert!(read_as("hosts.json", "null").unwrap_err().contains("expected a list of hosts"));
        assert!(read_as("hosts.yaml", "[]\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_says_where() {
        for (text, expected) in [
            (r#"[{"address":"nowhere"}]"#, "[0].address: expected host:port"),
            (r#"[{"adress":"a:1"}]"#, "unknown key; did you mean \"address\"?"),
            (r#"{"hosts":[]}"#, "expected"),
            ("[", "hosts.json:1:"),
            ("", "hosts.json"),
        ] {
            let error = read_as("hosts.json", text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(
            hosts_file(Path::new("/nowhere/hosts.json")).unwrap_err().to_string().contains("cannot be read")
        );
        for path in ["/", "/dev/zero"] {
            let error = hosts_file(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains("is not a regular file"), "{error}");
        }
    }
}
