//! @NAME@: picks the endpoint with the highest total, the first of equals.

mod abi;
mod plugin;
#[cfg(test)]
mod testing;

use abi::epp_value;
use plugin::*;

struct @CLASS@ {
    max_picks: usize,
}

impl Plugin for @CLASS@ {
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        // The host has checked type and range.
        let max_picks = unsafe { params[0].v.i64_ } as usize;
        Ok(@CLASS@ { max_picks })
    }
}

impl Picker for @CLASS@ {
    fn pick(&self, _: &Candidates, totals: &[f64], picks: &mut [u32]) -> Result<usize, Failure> {
        for (i, pick) in picks.iter_mut().enumerate() {
            *pick = i as u32;
        }
        // In place: nothing is allocated while a request waits. Totals are finite.
        picks.sort_unstable_by(|a, b| {
            let order = totals[*b as usize].partial_cmp(&totals[*a as usize]);
            order.unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b))
        });
        Ok(self.max_picks)
    }
}

library! {
    library: "@NAME@",
    type_name: "@NAME@",
    doc: "@DOC@",
    plugin: @CLASS@,
    params: [int(c!("maxPicks"), 1, 1.0, 1000.0, c!("endpoints named, best first"))],
    consumes: [],
    interfaces: [(EPP_PICKER_ID, epp_picker, picker_table::<@CLASS@>())],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn pick_of(max_picks: i64, totals: &[f64]) -> Vec<u32> {
        let picker = @CLASS@::create(&[i64_param(max_picks)]).ok().unwrap();
        let mut picks = vec![0; totals.len()];
        with(totals.len(), &[], |candidates| {
            let n = picker.pick(candidates, totals, &mut picks).ok().unwrap();
            picks.truncate(n);
        });
        picks
    }

    #[test]
    fn picks_the_best() {
        assert_eq!(pick_of(1, &[0.1, 0.9, 0.5]), [1]);
        assert_eq!(pick_of(1, &[0.1, 0.9, 0.9]), [1]);
    }

    #[test]
    fn fallbacks_follow_best_first() {
        assert_eq!(pick_of(10, &[0.3, 0.1, 0.4, 0.3]), [2, 0, 3, 1]);
    }
}
