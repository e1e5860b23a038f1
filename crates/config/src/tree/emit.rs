//! Writing JSON and YAML for people to read.

use super::{Kind, NodeId, Tree};

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// JSON, indented by so many spaces.
    Json(usize),
    /// YAML in blocks.
    Yaml,
}

/// A document while it is being written: begin, keys, scalars, end.
pub(crate) struct Emitter {
    layout: Layout,
    out: String,
    open: Vec<Open>,
    /// What comes next follows a key, or a dash, on the same line.
    inline: bool,
}

struct Open {
    array: bool,
    children: usize,
}

impl Emitter {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, out: String::new(), open: Vec::new(), inline: false }
    }

    /// The text, with a line end.
    pub(crate) fn finish(mut self) -> String {
        self.out.push('\n');
        self.out
    }

    pub(crate) fn begin(&mut self, array: bool) {
        self.element();
        if let Layout::Json(_) = self.layout {
            self.out.push(if array { '[' } else { '{' });
        }
        self.open.push(Open { array, children: 0 });
    }

    pub(crate) fn end(&mut self) {
        let Some(Open { array, children }) = self.open.pop() else { return };
        match self.layout {
            Layout::Json(step) => {
                if children > 0 {
                    self.line(step * self.open.len());
                }
                self.out.push(if array { ']' } else { '}' });
            }
            Layout::Yaml if children == 0 => {
                self.separate();
                self.out.push_str(if array { "[]" } else { "{}" });
            }
            Layout::Yaml => {}
        }
        self.inline = false;
    }

    /// A key, quoted and escaped.
    pub(crate) fn key(&mut self, quoted: &str) {
        let first = self.child();
        match self.layout {
            Layout::Json(step) => {
                if !first {
                    self.out.push(',');
                }
                self.line(step * self.open.len());
                self.out.push_str(quoted);
                self.out.push_str(": ");
            }
            Layout::Yaml => {
                // The first key of an array's element stands beside the dash.
                let beside = first && self.inline && self.out.ends_with('-');
                self.yaml_place(beside);
                let plain = quoted.trim_matches('"');
                self.out.push_str(if is_plain(plain) { plain } else { quoted });
                self.out.push(':');
            }
        }
        self.inline = true;
    }

    /// `null`, `true`, a number, a quoted string.
    pub(crate) fn scalar(&mut self, text: &str) {
        self.element();
        if self.layout == Layout::Yaml {
            self.separate();
        }
        self.out.push_str(text);
        self.inline = false;
    }

    /// Writes a node of a tree, but for the values that `instead` writes, and says so.
    pub(crate) fn tree(
        &mut self,
        tree: &Tree<'_>,
        node: NodeId,
        instead: &mut dyn FnMut(NodeId, &mut Self) -> bool,
    ) {
        if instead(node, self) {
            return;
        }
        match tree.kind(node) {
            Kind::Array => {
                self.begin(true);
                tree.elements(node).for_each(|element| self.tree(tree, element, instead));
                self.end();
            }
            Kind::Object => {
                self.begin(false);
                for (key, value) in tree.entries(node) {
                    self.key(&self.quoted(tree, key));
                    self.tree(tree, value, instead);
                }
                self.end();
            }
            Kind::Text | Kind::Escaped => self.scalar(&self.quoted(tree, node)),
            _ => self.scalar(tree.raw(node)),
        }
    }

    /// What a string's escapes stand for is written anew for YAML, which does not know all of JSON's.
    fn quoted(&self, tree: &Tree<'_>, node: NodeId) -> String {
        if self.layout == Layout::Yaml && tree.kind(node) == Kind::Escaped {
            return serde_json::Value::from(tree.string(node)).to_string();
        }
        format!("\"{}\"", tree.raw(node))
    }

    /// Makes room for an array's element, if it is one.
    fn element(&mut self) {
        if !self.open.last().is_some_and(|open| open.array) {
            return;
        }
        let first = self.child();
        match self.layout {
            Layout::Json(step) => {
                if !first {
                    self.out.push(',');
                }
                self.line(step * self.open.len());
            }
            Layout::Yaml => {
                let beside = first && self.inline && self.out.ends_with('-');
                self.yaml_place(beside);
                self.out.push('-');
                self.inline = true;
            }
        }
    }

    /// Counts a child of the innermost container; whether it is the first.
    fn child(&mut self) -> bool {
        self.open.last_mut().is_none_or(|open| {
            open.children += 1;
            open.children == 1
        })
    }

    fn separate(&mut self) {
        if self.inline {
            self.out.push(' ');
        }
    }

    fn yaml_place(&mut self, beside: bool) {
        if beside {
            self.out.push(' ');
        } else {
            self.line(2 * self.open.len().saturating_sub(1));
        }
    }

    fn line(&mut self, indent: usize) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}

/// Whether YAML takes it for this very string without quotes.
fn is_plain(key: &str) -> bool {
    let word = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let other = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    word && !other.iter().any(|other| key.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::super::{parse_json, yaml_to_json};
    use super::*;

    const TEXT: &str = r#"{"a":[1,{"b":"x\u0041\n","c d":[]},[true,[{}]],"<é>"],"on":{"n":null},"e":{}}"#;

    fn emitted(text: &str, layout: Layout) -> String {
        let tree = parse_json(text).ok().unwrap();
        let mut emitter = Emitter::new(layout);
        emitter.tree(&tree, 0, &mut |_, _| false);
        emitter.finish()
    }

    #[test]
    fn json_is_indented() {
        let expected = concat!(
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x\\u0041\\n\",\n      \"c d\": []\n    },\n",
            "    [\n      true,\n      [\n        {}\n      ]\n    ],\n    \"<é>\"\n  ],\n",
            "  \"on\": {\n    \"n\": null\n  },\n  \"e\": {}\n}\n"
        );
        assert_eq!(emitted(TEXT, Layout::Json(2)), expected);
        assert_eq!(emitted(r#"{"a":1}"#, Layout::Json(1)), "{\n \"a\": 1\n}\n");
    }

    #[test]
    fn yaml_means_what_the_json_means() {
        let yaml = emitted(TEXT, Layout::Yaml);
        let expected = "a:\n  - 1\n  - b: \"xA\\n\"\n    \"c d\": []\n  - - true\n    - - {}\n  - \"<é>\"\n\
                        \"on\":\n  \"n\": null\ne: {}\n";
        assert_eq!(yaml, expected);
        let (json, _) = yaml_to_json(&yaml).ok().unwrap();
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&json), value(TEXT));
    }
}
