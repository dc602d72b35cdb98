//! Finds the values at many paths in one pass over a document.

use super::scan::Scanner;

/// Paths as a tree of keys. Each path has a place in the list of values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths {
    root: Node,
    count: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    place: Option<usize>,
    /// The members of the value that are looked for, ordered by key.
    children: Vec<(String, Node)>,
}

impl Paths {
    /// The place of a path, which is added if it is new.
    pub(super) fn place_of(&mut self, path: &str) -> usize {
        let node = path.split('.').fold(&mut self.root, Node::child);
        *node.place.get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        })
    }

    /// The values at the paths, by their places. Of equal keys the last one is used. `None` if the data is damaged.
    pub(super) fn values_in<'d>(&self, data: &'d str) -> Option<Vec<Option<&'d str>>> {
        let mut values = vec![None; self.count];
        self.root.collect(&mut Scanner::new(data), &mut values)?;
        Some(values)
    }
}

impl Node {
    fn child(&mut self, key: &str) -> &mut Self {
        let index = match self.find(key) {
            Ok(index) => index,
            Err(index) => {
                self.children.insert(index, (key.to_owned(), Self::default()));
                index
            }
        };
        &mut self.children[index].1
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(name, _)| name.as_str().cmp(key))
    }

    /// Reads the next value, and notes it and the values inside it.
    fn collect<'d>(&self, scanner: &mut Scanner<'d>, values: &mut [Option<&'d str>]) -> Option<()> {
        let is_object = scanner.peek()? == b'{';
        let begin = scanner.clone();
        if is_object && !self.children.is_empty() {
            let mut seen = vec![false; self.children.len()];
            scanner.members(|scanner, key| match self.find(key) {
                Ok(index) => {
                    let child = &self.children[index].1;
                    if std::mem::replace(&mut seen[index], true) {
                        child.forget(values);
                    }
                    child.collect(scanner, values)
                }
                Err(_) => scanner.skip(),
            })?;
        } else {
            scanner.skip()?;
        }
        if let Some(place) = self.place {
            values[place] = Some(begin.text_until(scanner));
        }
        Some(())
    }

    fn forget(&self, values: &mut [Option<&str>]) {
        if let Some(place) = self.place {
            values[place] = None;
        }
        self.children.iter().for_each(|(_, child)| child.forget(values));
    }
}
