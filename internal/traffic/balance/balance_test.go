package balance_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
)

type member struct {
	weight   int
	inFlight atomic.Int64
	avoid    bool // ejected
	warms    bool // and unlucky with every dice but the greatest
}

func (m *member) Weight() int     { return m.weight }
func (m *member) InFlight() int64 { return m.inFlight.Load() }

func members(weights ...int) []*member {
	out := make([]*member, len(weights))
	for i, w := range weights {
		out[i] = &member{weight: w}
	}
	return out
}

var strategies = map[string]balance.Strategy{"least request": balance.LeastRequest, "round robin": balance.RoundRobin}

func TestParseStrategyTakesTheSpellingsOfBothSDKs(t *testing.T) {
	for _, tc := range []struct {
		word string
		want balance.Strategy
		ok   bool
	}{
		{"RoundRobin", balance.RoundRobin, true},
		{"round_robin", balance.RoundRobin, true},
		{"WeightedRoundRobin", balance.RoundRobin, true},
		{"weighted_round_robin", balance.RoundRobin, true},
		{"ROUNDROBIN", balance.RoundRobin, true},
		{"LeastConnections", balance.LeastRequest, true},
		{"least_connections", balance.LeastRequest, true},
		{"least_request", balance.LeastRequest, true},
		{"Random", balance.LeastRequest, false},
		{"IPHash", balance.LeastRequest, false},
		{"", balance.LeastRequest, false},
		{"nonsense", balance.LeastRequest, false},
	} {
		if got, ok := balance.ParseStrategy(tc.word); got != tc.want || ok != tc.ok {
			t.Errorf("ParseStrategy(%q) = %v, %v, want %v, %v", tc.word, got, ok, tc.want, tc.ok)
		}
	}
}

func TestRoundRobinGivesEachMemberItsShareExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 12).Draw(t, "weights")
		total := 0
		for _, w := range weights {
			total += w
		}
		p := balance.New(balance.RoundRobin, members(weights...))
		got := make([]int, len(weights))
		for n := 1; n <= 3*total; n++ {
			got[p.Pick(&balance.Tried{})]++
			for i, w := range weights {
				// Of two nobody is ever further from his share than two turns.
				if share := float64(n*w) / float64(total); math.Abs(float64(got[i])-share) > 2 && len(weights) <= 2 {
					t.Fatalf("after %d picks of %v member %d was picked %d times, want %.2f ± 2", n, weights, i, got[i], share)
				}
			}
			if n%total == 0 {
				for i, w := range weights {
					if d := got[i] - n/total*w; d < -1 || d > 1 {
						t.Fatalf("after %d whole rounds of %v member %d was picked %d times, want %d", n/total, weights, i, got[i], n/total*w)
					}
				}
			}
		}
	})
}

func TestRoundRobinIsSmooth(t *testing.T) {
	p := balance.New(balance.RoundRobin, members(5, 1, 1))
	run, longest, last := 0, 0, -1
	for range 700 {
		i := p.Pick(&balance.Tried{})
		if i == last {
			run++
		} else {
			run, last = 1, i
		}
		longest = max(longest, run)
	}
	if longest > 4 {
		t.Errorf("of the weights 5, 1, 1 one was picked %d times in a row, want at most 4", longest)
	}
}

func TestRoundRobinGoesOnForLong(t *testing.T) {
	weights := []int{1 << 16, 1, 3}
	p := balance.New(balance.RoundRobin, members(weights...))
	got := make([]int, 3)
	const n = 1 << 18
	for range n {
		got[p.Pick(&balance.Tried{})]++
	}
	for i, w := range weights {
		if want := float64(n*w) / (1<<16 + 4); math.Abs(float64(got[i])-want) > 2 {
			t.Errorf("weight %d was picked %d times of %d, want %.1f", w, got[i], n, want)
		}
	}
}

func TestLeastRequestPicksByWeightWhenNobodyIsBusier(t *testing.T) {
	ms := members(1, 1, 1, 1)
	p := balance.New(balance.LeastRequest, ms)
	got := make([]int, len(ms))
	const n = 40000
	for range n {
		got[p.Pick(&balance.Tried{})]++
	}
	for i, k := range got {
		if math.Abs(float64(k)-n/4) > n/40 {
			t.Errorf("member %d was picked %d times of %d, want a quarter", i, k, n)
		}
	}
}

func TestLeastRequestKeepsLoadsByWeight(t *testing.T) {
	// 64 requests are in flight at any time; each pick ends the oldest.
	ms := members(1, 3)
	p := balance.New(balance.LeastRequest, ms)
	var queue []int
	var sum [2]int64
	for range 20000 {
		i := p.Pick(&balance.Tried{})
		ms[i].inFlight.Add(1)
		if queue = append(queue, i); len(queue) > 64 {
			ms[queue[0]].inFlight.Add(-1)
			queue = queue[1:]
		}
		sum[0] += ms[0].InFlight()
		sum[1] += ms[1].InFlight()
	}
	if ratio := float64(sum[1]) / float64(sum[0]); ratio < 2.6 || ratio > 3.4 {
		t.Errorf("weights 1 and 3 carried loads at 1:%.2f, want 1:3", ratio)
	}
}

func TestOfTwoTheLessLoadedIsPicked(t *testing.T) {
	ms := members(1, 1)
	ms[0].inFlight.Store(5)
	ms[1].inFlight.Store(2)
	p := balance.New(balance.LeastRequest, ms)
	for range 1000 {
		if i := p.Pick(&balance.Tried{}); i != 1 {
			t.Fatal("the busier of two was picked")
		}
	}
	ms = members(1, 1, 1, 1, 1)
	ms[3].inFlight.Store(100)
	p = balance.New(balance.LeastRequest, ms)
	for range 1000 {
		if i := p.Pick(&balance.Tried{}); i == 3 {
			t.Fatal("of two choices the busiest of all was picked")
		}
	}
}

func TestWhatWasTriedIsNeverPickedAgain(t *testing.T) {
	for name, s := range strategies {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				weights := rapid.SliceOfN(rapid.IntRange(1, 1000), 0, balance.MaxTried).Draw(t, "weights")
				p := balance.New(s, members(weights...))
				var tried balance.Tried
				for n := range len(weights) {
					i := p.Pick(&tried)
					if i < 0 || i >= len(weights) || tried.Has(i) {
						t.Fatalf("pick %d of %d is %d", n, len(weights), i)
					}
					tried.Add(i)
				}
				if i := p.Pick(&tried); i != -1 {
					t.Fatalf("all were tried and %d was picked", i)
				}
			})
		})
	}
}

func TestAWeightBelowOneCountsAsOne(t *testing.T) {
	for name, s := range strategies {
		p := balance.New(s, members(0, -5, 1))
		got := make([]int, 3)
		for range 3000 {
			got[p.Pick(&balance.Tried{})]++
		}
		for i, n := range got {
			if n < 800 || n > 1200 {
				t.Errorf("%s: member %d was picked %d times of 3000", name, i, n)
			}
		}
	}
}

func TestPickersAreSafeForManyAtOnce(t *testing.T) {
	for name, s := range strategies {
		t.Run(name, func(t *testing.T) {
			ms := members(1, 2, 3, 4)
			p := balance.New(s, ms)
			got := make([]atomic.Int64, len(ms))
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 500 {
						var tried balance.Tried
						i := p.Pick(&tried)
						ms[i].inFlight.Add(1)
						got[i].Add(1)
						ms[i].inFlight.Add(-1)
					}
				})
			}
			wg.Wait()
			total := int64(0)
			for i := range got {
				total += got[i].Load()
				if s == balance.RoundRobin {
					if want := int64(3200 * ms[i].weight); got[i].Load() < want-4 || got[i].Load() > want+4 {
						t.Errorf("member %d was picked %d times, want %d", i, got[i].Load(), want)
					}
				}
			}
			if total != 32000 {
				t.Errorf("%d picks, want 32000", total)
			}
		})
	}
}

func TestAMemberThatWarmsUpIsBetterThanOneThatIsEjected(t *testing.T) {
	for name, s := range strategies {
		t.Run(name, func(t *testing.T) {
			list := members(1, 1, 1)
			list[0].avoid = true
			list[1].warms, list[2].warms = true, true
			list[1].inFlight.Store(9) // the ejected one has the least to do
			list[2].inFlight.Store(9)
			p := balance.New(s, list)
			for range 300 {
				var tried balance.Tried
				for range 2 {
					i := p.Pick(&tried)
					if i == 0 {
						t.Fatal("the ejected one was picked before both that warm up were tried")
					}
					tried.Add(i)
				}
				if i := p.Pick(&tried); i != 0 {
					t.Fatalf("picked %d, want the ejected one as the last", i)
				}
			}
		})
	}
}

func TestPickingAllocatesNothing(t *testing.T) {
	for name, s := range strategies {
		p := balance.New(s, members(1, 2, 3, 4, 5))
		var tried balance.Tried
		if n := testing.AllocsPerRun(1000, func() {
			tried = balance.Tried{}
			tried.Add(p.Pick(&tried))
			tried.Add(p.Pick(&tried))
		}); n != 0 {
			t.Errorf("%s allocates %v times a pick", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, s := range strategies {
		b.Run(name, func(b *testing.B) {
			p := balance.New(s, members(1, 2, 3, 4, 5, 6, 7, 8))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var tried balance.Tried
				for pb.Next() {
					p.Pick(&tried)
				}
			})
		})
	}
}

// Avoid implements balance.Member.
func (m *member) Avoid(dice uint32) bool { return m.avoid || m.warms && dice < math.MaxUint32 }
