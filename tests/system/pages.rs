//! Links in the documentation resolve, and no part named by the program is missing from it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;

fn pages() -> Vec<PathBuf> {
    let folders = ["docs", "docs/backend"].into_iter();
    let entries = folders.flat_map(|folder| fs::read_dir(repository(folder)).unwrap());
    let docs = entries.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    docs.chain([repository("README.md")]).collect()
}

/// Returns the lines outside of code blocks.
fn prose(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut in_code = false;
    let mut is_prose = |line: &&str| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    };
    text.lines().filter(|line| is_prose(line)).map(str::to_owned).collect()
}

/// Returns the anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let headings = prose(page).into_iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|one| one == wanted)
}

#[test]
fn each_link_between_the_pages_leads_to_a_page_and_a_heading() {
    let mut links = 0;
    for page in pages() {
        for line in prose(&page) {
            for link in line.split("](").skip(1) {
                let target = link.split(')').next().unwrap();
                if target.starts_with("http") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let there =
                    if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
                assert!(there.exists(), "{}: {target}", page.display());
                assert!(
                    heading.is_empty() || has_anchor(&there, heading),
                    "{}: {target}",
                    page.display()
                );
                links += 1;
            }
        }
    }
    assert!(links > 30, "{links} links");
}

#[test]
fn each_check_of_doctor_has_its_row_in_the_troubleshooting_page() {
    let control = fs::read_to_string(repository("docs/control.md")).unwrap();
    let named = control.split_once("`part` (").unwrap().1.split_once(')').unwrap().0;
    let named: Vec<_> = named.split('`').skip(1).step_by(2).collect();
    assert_eq!(named.len(), 15, "{named:?}");
    let trouble = fs::read_to_string(repository("docs/troubleshooting.md")).unwrap();
    let rows: Vec<_> = trouble
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(part, _)| part)
        .collect();
    assert_eq!(rows, named, "in the order of the checks");
}
