//! Writing a configuration back to its file and folders.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mosn_config::{EffectiveConfig, Loaded, Options, RouteEdit, WriteBack, load};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A configuration in a folder of its own.
struct Files {
    folder: TempDir,
    file: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        let files = Self { folder, file };
        files.write("r/b.json", r#"{"name":"b","domains":["b.com"],"x-unknown":1}"#);
        files.write("r/a.json", r#"{"name":"a","domains":["a.com"]}"#);
        files.write("r/x.txt", "not json");
        files.write("r/e.json", "");
        files.write("c/one.json", r#"{"name":"one"}"#);
        let config = json!({
            "servers": [{"routers": [{"router_config_name": "r", "router_configs": files.path("r")}]}],
            "cluster_manager": {"clusters_configs": files.path("c")},
            "x-unknown": {"a": 1}
        });
        files.write(name, &config.to_string());
        files
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Loaded {
        load(&self.file, Options::default()).unwrap()
    }

    fn write_back(&self) -> WriteBack {
        WriteBack::new(self.file.clone())
    }

    /// The names of a folder's files and their inodes, which change with every replacement.
    fn list(&self, path: &str) -> BTreeMap<String, u64> {
        let entries = fs::read_dir(self.path(path)).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino()))
            .collect()
    }

    fn names(&self, path: &str) -> Vec<String> {
        self.list(path).into_keys().collect()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(path)).unwrap()).unwrap()
    }
}

fn add_route(config: &mut EffectiveConfig, index: usize) {
    let route = r#"{"match":{"prefix":"/"},"direct_response":{"status":200,"body":"x"}}"#;
    let new = config.edit_routes(Path::new("update"), "r", index, RouteEdit::Append(route)).unwrap();
    config.put_virtual_host("r", index, &new);
}

fn add_host(config: &mut EffectiveConfig, json: &Value) {
    let new = config.new_virtual_host(Path::new("update"), &json.to_string()).unwrap();
    config.put_virtual_host("r", usize::MAX, &new);
}

fn add_cluster(config: &mut EffectiveConfig, name: &str) {
    config.put_cluster(&config.new_cluster(Path::new("update"), &json!({"name": name}).to_string()).unwrap());
}

#[test]
fn folders_hold_a_file_for_each_object_and_what_is_none_of_ours_stays() {
    let files = Files::new("conf.json");
    let (mut config, mut write_back) = (files.load().effective, files.write_back());
    let before = files.list("r");
    add_route(&mut config, 1);
    add_host(&mut config, &json!({"name": "c/d", "domains": ["c.com"]}));
    add_cluster(&mut config, "two");
    write_back.write(&config).unwrap();

    assert_eq!(files.names("r"), ["a.json", "b.json", "c_d.json", "x.txt"]);
    assert_eq!(files.names("c"), ["one.json", "two.json"]);
    assert_eq!(files.names("."), ["c", "conf.json", "r"]);
    assert_eq!(files.list("r")["a.json"], before["a.json"], "what did not change is not touched");
    assert_eq!(files.json("r/b.json")["x-unknown"], 1);
    let text = fs::read_to_string(files.path("r/b.json")).unwrap();
    assert!(text.starts_with("{\n \"name\": \"b\",\n \"domains\": [\n  \"b.com\"\n ],\n"), "{text}");
    let main = fs::read_to_string(&files.file).unwrap();
    assert!(main.starts_with("{\n  \"servers\": [\n    {\n      \"routers\": [\n"), "{main}");
    let main = files.json("conf.json");
    assert_eq!(main["x-unknown"], json!({"a": 1}));
    assert_eq!(main["servers"][0]["routers"][0]["router_configs"], json!(files.path("r")));
    assert_eq!(main["servers"][0]["routers"][0]["virtual_hosts"], Value::Null);
    assert_eq!(main["cluster_manager"], json!({"clusters_configs": files.path("c")}));
    let mode = |path| fs::metadata(files.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("r/c_d.json"), 0o644);

    let again = files.load();
    assert_eq!(again.model.routers[0].virtual_hosts.len(), 3);
    assert_eq!(again.effective.dump("allclusters"), config.dump("allclusters"));

    let (main, before) = (files.list("."), files.list("r"));
    config.remove_virtual_host("r", 0);
    config.remove_clusters(&["one"]);
    write_back.write(&config).unwrap();
    assert_eq!(files.names("r"), ["b.json", "c_d.json", "x.txt"]);
    assert_eq!(files.names("c"), ["two.json"]);
    assert_eq!(files.list("r")["b.json"], before["b.json"]);
    assert_eq!(files.list(".")["conf.json"], main["conf.json"], "nothing in the file changed");
}

#[test]
fn files_are_named_as_far_as_names_go() {
    let files = Files::new("conf.json");
    let (mut config, mut write_back) = (files.load().effective, files.write_back());
    // Written by somebody else meanwhile: it would be one more virtual host at the next start.
    files.write("r/own.json", r#"{"domains":["own.com"]}"#);
    let long = "é".repeat(100);
    for (name, domain) in
        [("a/b", "1.com"), ("a_b", "2.com"), ("../up", "3.com"), (&long, "4.com"), ("", "5.com")]
    {
        add_host(&mut config, &json!({"name": name, "domains": [domain]}));
    }
    write_back.write(&config).unwrap();
    let names = files.names("r");
    for name in ["a_b.json", "a_b-2.json", ".._up.json", &format!("{}.json", "é".repeat(64))] {
        assert!(names.iter().any(|other| other == name), "{name} is not in {names:?}");
    }
    assert_eq!(names.len(), 2 + 5 + 1, "{names:?}");
    let before = files.list("r");
    add_route(&mut config, 0);
    write_back.write(&config).unwrap();
    let after = files.list("r");
    let moved: Vec<_> = before.iter().filter(|(name, inode)| after.get(*name) != Some(inode)).collect();
    assert_eq!(moved.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.json"]);
    assert_eq!(files.load().model.routers[0].virtual_hosts.len(), 7);
}

#[test]
fn a_yaml_file_stays_yaml_and_a_file_keeps_its_mode_and_its_link() {
    let files = Files::new("real.yaml");
    fs::set_permissions(&files.file, fs::Permissions::from_mode(0o600)).unwrap();
    let link = files.path("conf.yaml");
    std::os::unix::fs::symlink(&files.file, &link).unwrap();
    let mut config = load(&link, Options::default()).unwrap().effective;
    add_cluster(&mut config, "two");
    WriteBack::new(link.clone()).write(&config).unwrap();
    let text = fs::read_to_string(&files.file).unwrap();
    assert!(text.starts_with("servers:\n  - routers:\n      - router_config_name: \"r\"\n"), "{text}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&files.file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(load(&link, Options::default()).unwrap().model.clusters.len(), 2);
}

#[test]
fn what_cannot_be_written_is_an_error_with_its_path_and_is_written_later() {
    let files = Files::new("conf.json");
    let (mut config, mut write_back) = (files.load().effective, files.write_back());
    add_route(&mut config, 0);
    fs::remove_dir_all(files.path("r")).unwrap();
    files.write("r", "a file where a folder was");
    let error = write_back.write(&config).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write {}: ", files.path("r").display())), "{error}");
    fs::remove_file(files.path("r")).unwrap();
    write_back.write(&config).unwrap();
    assert_eq!(files.names("r"), ["a.json", "b.json"]);
}

#[test]
fn a_folder_of_two_tables_is_not_written() {
    let files = Files::new("conf.json");
    let mut config = files.json("conf.json");
    let table = json!({"router_config_name": "other", "router_configs": files.path("r")});
    config["servers"][0]["routers"].as_array_mut().unwrap().push(table);
    files.write("conf.json", &config.to_string());
    let mut config = files.load().effective;
    add_route(&mut config, 0);
    let error = files.write_back().write(&config).unwrap_err().to_string();
    assert!(error.contains("is named twice"), "{error}");
    assert_eq!(files.names("r"), ["a.json", "b.json", "e.json", "x.txt"]);
}
