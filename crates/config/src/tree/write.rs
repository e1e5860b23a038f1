use super::{Kind, NodeId, Tree, same_key};

impl Tree<'_> {
    /// Appends a node as JSON without white space.
    pub(crate) fn write(&self, id: NodeId, out: &mut String) {
        self.write_with(id, out, &mut |_, _| false);
    }

    /// The same, but for the values that `instead` writes in another way, and says so.
    pub(crate) fn write_with(
        &self,
        id: NodeId,
        out: &mut String,
        instead: &mut dyn FnMut(NodeId, &mut String) -> bool,
    ) {
        if instead(id, out) {
            return;
        }
        match self.kind(id) {
            Kind::Array => {
                out.push('[');
                for (index, element) in self.elements(id).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write_with(element, out, instead);
                }
                out.push(']');
            }
            Kind::Object => {
                out.push('{');
                for (index, (key, value)) in self.entries(id).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write_scalar(key, out);
                    out.push(':');
                    self.write_with(value, out, instead);
                }
                out.push('}');
            }
            _ => self.write_scalar(id, out),
        }
    }

    /// Appends an object without the entries that count as one of `keys`.
    pub(crate) fn write_without(&self, object: NodeId, keys: &[&str], out: &mut String) {
        out.push('{');
        let mut first = true;
        for (key, value) in self.entries(object) {
            let name = self.string(key);
            if keys.iter().any(|other| same_key(other, &name)) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            self.write_scalar(key, out);
            out.push(':');
            self.write(value, out);
        }
        out.push('}');
    }

    fn write_scalar(&self, id: NodeId, out: &mut String) {
        let text = matches!(self.kind(id), Kind::Text | Kind::Escaped);
        if text {
            out.push('"');
        }
        out.push_str(self.raw(id));
        if text {
            out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        let text = r#"{"a":[1,-2.5e3,"x\u00e9"],"b":{},"c":[],"d":null}"#;
        let tree = parse_json(text).ok().unwrap();
        let mut out = String::new();
        tree.write(0, &mut out);
        assert_eq!(out, text);
    }

    #[test]
    fn entries_are_left_out_however_their_keys_are_written() {
        let tree = parse_json(r#"{"a":1,"B":2,"b":[3],"c":{"b":4}}"#).ok().unwrap();
        let mut out = String::new();
        tree.write_without(0, &["b"], &mut out);
        assert_eq!(out, r#"{"a":1,"c":{"b":4}}"#);
    }
}
