use super::{EffectiveConfig, Reader, Text, skeleton};
use crate::load::Format;
use crate::tree::{Emitter, Layout, Tree, parse_json};

impl EffectiveConfig {
    /// The configuration file as it would have to be for the process to run as it does now: as it was
    /// written, with the routers and clusters that there are, and with private keys. What is kept in
    /// folders is not in it.
    #[must_use]
    pub fn to_file(&self, format: Format) -> String {
        let layout = match format {
            Format::Json => Layout::Json(2),
            Format::Yaml => Layout::Yaml,
        };
        let mut out = Emitter::new(layout);
        let mut reader = self.archive.reader();
        skeleton::with_tree(&self.file, |tree, holes| {
            out.tree(tree, Tree::ROOT, &mut |node, out| {
                if holes.routers == Some(node) {
                    self.emit_routers(out, &mut reader);
                } else if holes.clusters == Some(node) {
                    out.begin(true);
                    self.clusters.values().for_each(|text| emit(out, reader.get(text)));
                    out.end();
                } else {
                    return false;
                }
                true
            });
        });
        out.finish()
    }

    fn emit_routers(&self, out: &mut Emitter, reader: &mut Reader<'_>) {
        out.begin(true);
        for router in self.routers.iter().filter(|router| router.written) {
            let table = reader.get(&router.table).to_owned();
            let Ok(table) = parse_json(&table) else { continue };
            out.begin(false);
            for (key, value) in table.entries(Tree::ROOT) {
                out.key(&format!("\"{}\"", table.raw(key)));
                out.tree(&table, value, &mut |_, _| false);
            }
            match &router.folder {
                Some(folder) => {
                    out.key("\"router_configs\"");
                    out.scalar(&serde_json::Value::from(&*folder.path).to_string());
                }
                None => {
                    out.key("\"virtual_hosts\"");
                    out.begin(true);
                    router.hosts.iter().for_each(|text| emit(out, reader.get(text)));
                    out.end();
                }
            }
            out.end();
        }
        out.end();
    }

    /// One object as a file of its own.
    pub(crate) fn to_object_file(&self, text: &Text) -> String {
        let mut out = Emitter::new(Layout::Json(1));
        emit(&mut out, self.archive.reader().get(text));
        out.finish()
    }

    /// The objects that are kept in folders: of each folder its path, the files it had when it was
    /// read, and the names and texts of what is to be in it now.
    pub(crate) fn folders(&self) -> Vec<FolderState<'_>> {
        let clusters = self.clusters_folder.as_deref().map(|folder| FolderState {
            path: &folder.path,
            files: &folder.files,
            objects: self.clusters.iter().map(|(name, text)| (name.to_string(), text)).collect(),
        });
        let mut reader = self.archive.reader();
        let routers = self.routers.iter().filter_map(|router| {
            let folder = router.folder.as_deref()?;
            let named = |text| (name_of(reader.get(text)), text);
            let objects = router.hosts.iter().map(named).collect();
            Some(FolderState { path: &folder.path, files: &folder.files, objects })
        });
        clusters.into_iter().chain(routers.collect::<Vec<_>>()).collect()
    }
}

/// See [`EffectiveConfig::folders`].
pub(crate) struct FolderState<'c> {
    pub(crate) path: &'c str,
    pub(crate) files: &'c [(String, Text)],
    pub(crate) objects: Vec<(String, &'c Text)>,
}

fn emit(out: &mut Emitter, text: &str) {
    // What is kept was parsed before.
    if let Ok(tree) = parse_json(text) {
        out.tree(&tree, Tree::ROOT, &mut |_, _| false);
    }
}

fn name_of(text: &str) -> String {
    let Ok(tree) = parse_json(text) else { return String::new() };
    tree.find(Tree::ROOT, "name").map(|name| tree.string(name).into_owned()).unwrap_or_default()
}
