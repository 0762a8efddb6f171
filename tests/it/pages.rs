//! The documents as text: blocks, headings, links.

use std::fs;
use std::path::{Path, PathBuf};

/// One Markdown file.
pub(crate) struct Page {
    /// Its path below the repository.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// One fenced block.
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the repository.
pub(crate) fn pages() -> Vec<Page> {
    let folders = [root().to_path_buf(), root().join("docs"), root().join("docs/adr")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    let name = |file: &PathBuf| file.strip_prefix(root()).unwrap().display().to_string();
    files.iter().map(|file| Page::read(&name(file))).collect()
}

/// The rows of the table with this header are these. `DOCS=write` writes them into the page.
pub(crate) fn check_table(page: &str, header: &str, rows: &[String]) {
    let text = Page::read(page).text;
    let before = format!("\n{header}\n|");
    let at = text.find(&before).unwrap_or_else(|| panic!("{page} has no table {header}"));
    let lines = text[at + 1..].split_inclusive('\n');
    let head: usize = lines.clone().take(2).map(str::len).sum();
    let body: usize = lines.skip(2).take_while(|it| it.starts_with('|')).map(str::len).sum();
    let (from, end) = (at + 1 + head, at + 1 + head + body);
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    if std::env::var_os("DOCS").is_some_and(|it| it == "write") {
        fs::write(root().join(page), format!("{}{rows}{}", &text[..from], &text[end..])).unwrap();
    } else {
        let help = "`DOCS=write ./dev test --quick` writes this table";
        assert_eq!(&text[from..end], rows, "{page}: {help}");
    }
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name));
        Self { name: name.to_owned(), text: text.unwrap_or_else(|error| panic!("{name}: {error}")) }
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (at, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), open) {
                (Some(language), false) => {
                    let (line, language) = (at + 1, language.trim().to_owned());
                    blocks.push(Block { line, language, text: String::new() });
                    open = true;
                }
                (Some(_), true) => open = false,
                (None, true) => {
                    let block = blocks.last_mut().expect("a block is open");
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, false) => {}
            }
        }
        assert!(!open, "{}: a block has no end", self.name);
        blocks
    }

    /// The blocks in one of these languages, in order.
    pub(crate) fn blocks_in(&self, languages: &[&str]) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| languages.contains(&block.language.as_str()));
        blocks
    }

    /// Everything outside blocks.
    fn prose(&self) -> String {
        let parts = self.text.split("\n```").enumerate();
        parts.filter(|(at, _)| at % 2 == 0).map(|(_, part)| part).collect::<Vec<_>>().join("\n")
    }

    /// The anchors of its sections, as forges create them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// The targets of its links.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        // Those that stand at the end of a section: [name]: target
        let below = prose.lines().filter(|line| line.starts_with('['));
        let below = below.filter_map(|line| line.split_once("]: "));
        targets.chain(below.map(|(_, target)| target)).map(str::to_owned).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

/// Panics if `target`, as written on `page`, leads nowhere.
pub(crate) fn follow(page: &str, target: &str) {
    let (path, section) = target.split_once('#').unwrap_or((target, ""));
    let from = root().join(page);
    let file = match path {
        "" => from,
        path => from.parent().expect("a page is in a folder").join(path),
    };
    let file = file.canonicalize().unwrap_or_else(|_| panic!("{page} points to {target}"));
    if !section.is_empty() {
        let name = file.strip_prefix(root().canonicalize().unwrap()).unwrap();
        let there = Page::read(&name.display().to_string()).anchors();
        assert!(there.iter().any(|it| it == section), "{page} points to {target}: {there:?}");
    }
}

#[test]
fn headings_are_linked_to_as_forges_do() {
    assert_eq!(anchor("3. ephemerd's side"), "3-ephemerds-side");
    assert_eq!(anchor("`status` and more"), "status-and-more");
}
