//! The file as it was written, with holes where routers and clusters go: whatever else it says, known
//! or not, stays as it is.

use crate::tree::{NodeId, Tree, parse_json};

/// The skeleton of a file; `clusters` are in it, not in a folder.
pub(super) fn of(tree: &Tree<'_>, clusters: bool) -> String {
    let manager = tree.find(Tree::ROOT, "cluster_manager");
    let server = first_server(tree);
    let mut out = String::new();
    tree.write_with(Tree::ROOT, &mut out, &mut |node, out| {
        let hole = if Some(node) == server {
            "routers"
        } else if Some(node) == manager && clusters {
            "clusters"
        } else {
            return false;
        };
        tree.write_without(node, &[hole], out);
        out.pop();
        let comma = if out.ends_with('{') { "" } else { "," };
        out.push_str(&format!("{comma}\"{hole}\":null}}"));
        true
    });
    if manager.is_none() {
        out.pop();
        let comma = if out.ends_with('{') { "" } else { "," };
        out.push_str(&format!("{comma}\"cluster_manager\":{{\"clusters\":null}}}}"));
    }
    out
}

/// Where the holes are.
pub(super) struct Holes {
    pub(super) routers: Option<NodeId>,
    /// `None` if clusters are in a folder.
    pub(super) clusters: Option<NodeId>,
}

impl Holes {
    pub(super) fn find(skeleton: &Tree<'_>) -> Self {
        let manager = skeleton.find(Tree::ROOT, "cluster_manager");
        Self {
            routers: first_server(skeleton).and_then(|server| skeleton.find(server, "routers")),
            clusters: manager.and_then(|manager| skeleton.find(manager, "clusters")),
        }
    }
}

fn first_server(tree: &Tree<'_>) -> Option<NodeId> {
    tree.find(Tree::ROOT, "servers").and_then(|servers| tree.elements(servers).next())
}

/// Hands the skeleton on as a tree.
pub(super) fn with_tree<R>(skeleton: &str, then: impl FnOnce(&Tree<'_>, &Holes) -> R) -> Option<R> {
    let tree = parse_json(skeleton).ok()?;
    let holes = Holes::find(&tree);
    Some(then(&tree, &holes))
}
