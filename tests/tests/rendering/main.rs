//! Renderings of random trees against the oracle.

mod forest;

use forest::{Forest, REGIONS};
use memory_core::{AddrRange, Kind, Memory, RegionId, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use memory_flatview::oracle::{Stretch, first_difference, stretches};
use memory_flatview::{FlatRange, View, render, resolve_root};
use proptest::prelude::*;

/// What the rules say of `root`, and its rendering.
fn both(forest: &Forest, root: RegionId, window: AddrRange) -> (Vec<Stretch>, Vec<FlatRange>) {
    forest
        .memory
        .read(|tree| (stretches(tree, Some(root), window), render(tree, Some(root), window)))
        .unwrap()
}

fn check(forest: &Forest, root: RegionId, window: AddrRange) -> Result<Vec<FlatRange>, TestCaseError> {
    let (rules, rendered) = both(forest, root, window);
    match first_difference(&rules, &rendered) {
        None => Ok(rendered),
        Some(difference) => Err(TestCaseError::fail(difference)),
    }
}

/// A window to render.
fn window(forest: &mut Forest) -> AddrRange {
    let [a, b] = [(); 2].map(|()| forest.address(Size::from(1u64)));
    AddrRange::new(a.min(b), a.max(b)).unwrap()
}

/// A random tree renders as the oracle has it: from its root, from a region inside, in a window, and from what
/// its root comes down to.
fn one_tree(seed: u64) -> Result<(), TestCaseError> {
    let mut forest = Forest::new(Memory::new(), seed);
    let root = forest.root().id();
    check(&forest, root, AddrRange::ALL)?;
    let inside = forest.rng.below(REGIONS as u64) as usize;
    let inside = forest.regions[inside].id();
    let rendered = check(&forest, inside, AddrRange::ALL)?;
    let window = window(&mut forest);
    check(&forest, root, window)?;
    let (rules, found) = forest
        .memory
        .read(|tree| {
            let rules = stretches(tree, Some(inside), AddrRange::ALL);
            (rules, render(tree, resolve_root(tree, inside), AddrRange::ALL))
        })
        .unwrap();
    prop_assert_eq!(first_difference(&rules, &found), None);
    prop_assert_eq!(rendered.len(), found.len());
    Ok(())
}

/// Changes in nested transactions: after each level the rendering is the oracle's, and what is taken back leaves the
/// rendering of before.
fn changes(seed: u64) -> Result<(), TestCaseError> {
    let mut forest = Forest::new(Memory::new(), seed);
    let root = forest.root().id();
    let memory = forest.memory.clone();
    for _ in 0..3 {
        let before = check(&forest, root, AddrRange::ALL)?;
        let outer = memory.begin().unwrap();
        for _ in 0..3 {
            let at_savepoint = check(&forest, root, AddrRange::ALL)?;
            let inner = memory.begin().unwrap();
            for _ in 0..1 + forest.rng.below(6) {
                forest.change();
            }
            if forest.is_small() {
                check(&forest, root, AddrRange::ALL)?;
                if forest.rng.percent(60) {
                    inner.commit().unwrap();
                    continue;
                }
            }
            drop(inner);
            let after = check(&forest, root, AddrRange::ALL)?;
            prop_assert!(same(&at_savepoint, &after), "an inner level left something behind");
        }
        if forest.rng.percent(60) {
            outer.commit().unwrap();
            check(&forest, root, AddrRange::ALL)?;
        } else {
            drop(outer);
            let after = check(&forest, root, AddrRange::ALL)?;
            prop_assert!(same(&before, &after), "a transaction left something behind");
        }
    }
    Ok(())
}

fn same(a: &[FlatRange], b: &[FlatRange]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same(b))
}

/// 10,000 trees, in four tests that run beside each other.
macro_rules! trees {
    ($($name:ident)*) => {
        proptest! {
            #![proptest_config(ProptestConfig {
                cases: 2500, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
            })]
            $(
                #[test]
                fn $name(seed in any::<u64>()) {
                    one_tree(seed)?;
                }
            )*
        }
    };
}

trees! { random_tree_renders_by_the_rules_1 random_tree_renders_by_the_rules_2
random_tree_renders_by_the_rules_3 random_tree_renders_by_the_rules_4 }

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn changed_tree_renders_by_the_rules_and_rolls_back(seed in any::<u64>()) {
        changes(seed)?;
    }
}

/// What the trees above are made of, so that they cannot become trivial unseen.
#[test]
fn random_trees_have_all_that_the_rules_speak_of() {
    let (mut ranges, mut overlaid, mut top, mut aliases_of_aliases, mut leaf_parents) = (0, 0, 0, 0, 0);
    const TREES: usize = 100;
    for seed in 0..TREES as u64 {
        let forest = Forest::new(Memory::new(), seed);
        let (_, rendered) = both(&forest, forest.root().id(), AddrRange::ALL);
        ranges += rendered.len();
        overlaid += rendered.iter().filter(|range| range.is_overlaid()).count();
        top += rendered.iter().filter(|range| range.range().last() == u64::MAX).count();
        forest
            .memory
            .read(|tree| {
                assert!(tree.regions().count() >= 200);
                for (_, node) in tree.regions() {
                    if let Kind::Alias { target, .. } = node.kind()
                        && let Some(target) = tree.get(*target)
                    {
                        aliases_of_aliases += usize::from(matches!(target.kind(), Kind::Alias { .. }));
                    }
                    leaf_parents += usize::from(node.kind().is_leaf() && node.children().next().is_some());
                }
            })
            .unwrap();
    }
    let counts = [ranges, overlaid, top, aliases_of_aliases, leaf_parents];
    assert!(ranges > 25 * TREES && overlaid > TREES && top > TREES / 4, "{counts:?}");
    assert!(aliases_of_aliases > TREES && leaf_parents > TREES, "{counts:?}");
}

/// What an address space shows is the rendering of its root as a whole.
fn check_space(memory: &Memory, space: &AddressSpace) -> Result<(), TestCaseError> {
    let root = space.root().id();
    let whole = memory.read(|tree| render(tree, resolve_root(tree, root), AddrRange::ALL)).unwrap();
    space.with_view(|view: &View| {
        let shown: Vec<_> = view.ranges().cloned().collect();
        prop_assert!(same(&shown, &whole), "shown: {shown:?}\nwhole: {whole:?}");
        prop_assert_eq!(view.len(), whole.len());
        prop_assert!(view.chunk_lengths().all(|ranges| ranges <= 64));
        Ok(())
    })
}

/// 100 transactions, some of them taken back in part or as a whole, under four address spaces. Returns how many published
/// a view.
fn hundred_commits(seed: u64) -> Result<usize, TestCaseError> {
    let system = MemorySystem::new();
    let memory = system.memory().clone();
    let mut forest = Forest::new(memory.clone(), seed);
    // large trees, and small ones, whose roots are often looked through
    let large = [(); 3].map(|()| REGIONS - 2 - forest.rng.below(40) as usize);
    let small = [(); 8].map(|()| forest.rng.below(REGIONS as u64) as usize);
    let others = large.into_iter().chain(small);
    let spaces = [REGIONS - 1].into_iter().chain(others).map(|root| {
        let root = forest.regions[root].by_ref();
        system.address_space(root.name().to_string(), root, SpaceConfig::default()).unwrap()
    });
    let spaces: Vec<_> = spaces.collect();
    let mut published = 0;
    for _ in 0..100 {
        let before: Vec<_> = spaces.iter().map(|space| space.generation()).collect();
        let outer = memory.begin().unwrap();
        for _ in 0..1 + forest.rng.below(3) {
            let inner = memory.begin().unwrap();
            (0..1 + forest.rng.below(5)).for_each(|_| forest.change());
            if forest.rng.percent(80) {
                inner.commit().unwrap();
            }
        }
        if forest.is_small() && forest.rng.percent(90) {
            outer.commit().unwrap();
        } else {
            drop(outer);
        }
        spaces.iter().try_for_each(|space| check_space(&memory, space))?;
        published +=
            spaces.iter().zip(before).filter(|(space, before)| space.generation() != *before).count();
    }
    Ok(published)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_rendered_where_something_changed_is_the_whole_rendering_1(seed in any::<u64>()) {
        hundred_commits(seed)?;
    }

    #[test]
    fn what_is_rendered_where_something_changed_is_the_whole_rendering_2(seed in any::<u64>()) {
        hundred_commits(seed)?;
    }
}

/// What the transactions above are made of, so that they cannot become trivial unseen.
#[test]
fn random_transactions_publish_views() {
    let published: usize = (0..10).map(|seed| hundred_commits(seed).unwrap()).sum();
    assert!(published > 200, "{published} views in 1,000 transactions of four spaces");
}
