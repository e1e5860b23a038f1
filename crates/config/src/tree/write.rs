use super::{Kind, NodeId, Tree};

impl Tree<'_> {
    /// Appends a node as JSON without white space.
    pub(crate) fn write(&self, id: NodeId, out: &mut String) {
        match self.kind(id) {
            Kind::Null | Kind::False | Kind::True | Kind::Number => out.push_str(self.raw(id)),
            Kind::Text | Kind::Escaped => {
                out.push('"');
                out.push_str(self.raw(id));
                out.push('"');
            }
            Kind::Array => {
                out.push('[');
                for (index, element) in self.elements(id).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write(element, out);
                }
                out.push(']');
            }
            Kind::Object => {
                out.push('{');
                for (index, (key, value)) in self.entries(id).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write(key, out);
                    out.push(':');
                    self.write(value, out);
                }
                out.push('}');
            }
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
}
