//! What a PLIC knows, apart from its place in a machine: gateways, priorities, and the targets' view of them.

use serde::{Deserialize, Serialize};

/// A set of sources, a bit each; words that are missing are 0.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(transparent)]
pub(super) struct Sources {
    words: Vec<u32>,
}

impl Sources {
    /// Keeps the bits of sources 1 to `count`.
    fn fit(&mut self, count: u32) {
        let words = usize::try_from(count / 32 + 1).unwrap_or_default();
        self.words.resize(words, 0);
        if let Some(first) = self.words.first_mut() {
            *first &= !1;
        }
        if let Some(last) = self.words.last_mut() {
            *last &= u32::MAX >> (31 - count % 32);
        }
    }

    pub(super) fn word(&self, index: usize) -> Option<u32> {
        self.words.get(index).copied()
    }

    fn contains(&self, source: u32) -> bool {
        let word = usize::try_from(source / 32).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word >> (source % 32) & 1 != 0)
    }

    fn set(&mut self, source: u32, value: bool) {
        let Some(word) = usize::try_from(source / 32).ok().and_then(|word| self.words.get_mut(word)) else {
            return;
        };
        let bit = 1 << (source % 32);
        *word = if value { *word | bit } else { *word & !bit };
    }

    /// The sources that are in both, ascending.
    fn common(&self, other: &Self) -> impl Iterator<Item = u32> {
        let both = self.words.iter().zip(&other.words).map(|(a, b)| a & b);
        (0..).step_by(32).zip(both).flat_map(|(first, mut bits)| {
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 32).then_some(first + bit)
            })
        })
    }
}

/// What one target has set.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Context {
    enables: Sources,
    threshold: u32,
}

/// The state of all sources and contexts. The default is that after power on.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct State {
    /// By source; 0 means never.
    priorities: Vec<u32>,
    /// Requests that wait to be claimed.
    pending: Sources,
    /// Requests that were claimed and not completed: their gateways forward nothing.
    in_service: Sources,
    /// The lines that are high.
    lines: Sources,
    contexts: Vec<Context>,
    /// The bits that priorities and thresholds have.
    #[serde(skip)]
    priority_mask: u32,
}

impl State {
    /// Fits the state, which may be a file's, to sources 1 to `sources`, to priorities under `priority_mask` and to
    /// `contexts` contexts.
    pub(super) fn fit(&mut self, sources: u32, priority_mask: u32, contexts: usize) {
        self.priority_mask = priority_mask;
        self.priorities.resize(usize::try_from(sources).unwrap_or_default() + 1, 0);
        self.priorities.iter_mut().for_each(|priority| *priority &= priority_mask);
        if let Some(none) = self.priorities.first_mut() {
            *none = 0;
        }
        for set in [&mut self.pending, &mut self.in_service, &mut self.lines] {
            set.fit(sources);
        }
        self.contexts.resize_with(contexts, Context::default);
        for context in &mut self.contexts {
            context.threshold &= priority_mask;
            context.enables.fit(sources);
        }
    }

    fn sources(&self) -> u32 {
        u32::try_from(self.priorities.len().saturating_sub(1)).unwrap_or_default()
    }

    /// Clears everything that software set. Lines keep their levels, so a gateway whose line is high has its request
    /// again.
    pub(super) fn reset(&mut self) {
        let (sources, mask, contexts) = (self.sources(), self.priority_mask, self.contexts.len());
        let lines = std::mem::take(&mut self.lines);
        *self = Self { pending: lines.clone(), lines, ..Self::default() };
        self.fit(sources, mask, contexts);
    }

    /// A line has a new level. A request, once forwarded, stays pending though the line fall again, as the specification
    /// has it for level-triggered sources. Nothing happens for a source that does not exist.
    pub(super) fn set_line(&mut self, source: u32, level: bool) {
        if source == 0 || source > self.sources() {
            return;
        }
        let rises = level && !self.lines.contains(source);
        self.lines.set(source, level);
        if rises && !self.in_service.contains(source) {
            self.pending.set(source, true);
        }
    }

    fn priority_of(&self, source: u32) -> u32 {
        usize::try_from(source).ok().and_then(|source| self.priority(source)).unwrap_or_default()
    }

    /// The enabled pending source of highest priority, the lowest of equals, with that priority.
    fn best(&self, context: &Context) -> Option<(u32, u32)> {
        let candidates = self.pending.common(&context.enables);
        let with_priority = candidates.map(|source| (source, self.priority_of(source)));
        let live = with_priority.filter(|(_, priority)| *priority > 0);
        live.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Whether a context is to be interrupted: something enabled is pending above its threshold.
    pub(super) fn interrupts(&self, context: usize) -> bool {
        self.contexts.get(context).is_some_and(|context| {
            self.best(context).is_some_and(|(_, priority)| priority > context.threshold)
        })
    }

    /// Claims the best interrupt for a context; 0 if there is none. The threshold plays no part. `None` if there is no
    /// such context.
    pub(super) fn claim(&mut self, context: usize) -> Option<u32> {
        let Some((source, _)) = self.best(self.contexts.get(context)?) else { return Some(0) };
        self.pending.set(source, false);
        self.in_service.set(source, true);
        Some(source)
    }

    /// Completes an interrupt: its gateway looks at its line again. A source that is not enabled for the context is
    /// ignored. `None` if there is no such context.
    pub(super) fn complete(&mut self, context: usize, source: u32) -> Option<()> {
        let enabled = self.contexts.get(context)?.enables.contains(source);
        if enabled && self.in_service.contains(source) {
            self.in_service.set(source, false);
            if self.lines.contains(source) {
                self.pending.set(source, true);
            }
        }
        Some(())
    }

    pub(super) fn priority(&self, source: usize) -> Option<u32> {
        self.priorities.get(source).copied()
    }

    pub(super) fn set_priority(&mut self, source: usize, value: u32) -> Option<()> {
        let mask = self.priority_mask;
        // source 0 does not exist: its priority is always 0
        *self.priorities.get_mut(source).filter(|_| source > 0)? = value & mask;
        Some(())
    }

    pub(super) fn pending(&self, word: usize) -> Option<u32> {
        self.pending.word(word)
    }

    pub(super) fn enables(&self, context: usize, word: usize) -> Option<u32> {
        self.contexts.get(context)?.enables.word(word)
    }

    pub(super) fn set_enables(&mut self, context: usize, word: usize, value: u32) -> Option<()> {
        let sources = self.sources();
        let enables = &mut self.contexts.get_mut(context)?.enables;
        *enables.words.get_mut(word)? = value;
        enables.fit(sources);
        Some(())
    }

    pub(super) fn threshold(&self, context: usize) -> Option<u32> {
        Some(self.contexts.get(context)?.threshold)
    }

    pub(super) fn set_threshold(&mut self, context: usize, value: u32) -> Option<()> {
        self.contexts.get_mut(context)?.threshold = value & self.priority_mask;
        Some(())
    }

    /// Sources that are pending, in service, and high.
    pub(super) fn sets(&self) -> [(&'static str, Vec<u32>); 3] {
        let list = |set: &Sources| set.common(set).collect();
        [
            ("pending", list(&self.pending)),
            ("in-service", list(&self.in_service)),
            ("lines", list(&self.lines)),
        ]
    }
}
