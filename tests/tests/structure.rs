//! The workspace keeps its own rules, and what it commits besides sources is what the sources give.

use anyhow::Result;
use xtask::guests::{self, Outcome};
use xtask::{Workspace, lint};

#[test]
fn workspace_keeps_its_structural_rules() -> Result<()> {
    let findings = lint::structure(&Workspace::here())?;
    let text: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", text.join("\n"));
    Ok(())
}

#[test]
fn committed_guests_are_what_their_sources_give() -> Result<()> {
    const NAME: &str = "committed_guests_are_what_their_sources_give";
    let Some(guests) = guests::rebuild(&Workspace::here(), true)? else {
        tests::skip(NAME, guests::MISSING);
        return Ok(());
    };
    assert!(!guests.is_empty(), "no guest was found");
    for guest in &guests {
        assert_ne!(guest.outcome, Outcome::Differs, "{guest}");
    }
    if let Some(guest) = guests.iter().find(|guest| matches!(guest.outcome, Outcome::OtherTools(_))) {
        tests::skip(NAME, &guest.to_string());
    }
    Ok(())
}
