// Records measures how many records a second the main stores take and give, by
// the path that functions use (records.NewBatch, records.Apply) and the one
// that readers use (ScanRecords), and beside each, in the same run, the floor:
// plain SQL through the same driver into the same tables. See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `Records measures the main stores' records/s, beside plain SQL's.

  go run ./bench/records                              both stores, 100,000 records, 3 rounds
  go run ./bench/records -store sqlite -rounds 5      one store, more rounds
  go run ./bench/records -n 20000 -seconds 5          a quick look
  go run ./bench/records -dir /mnt/disk               on the disk that is meant
  go run ./bench/records -ops insert,read -side ours -cpuprofile cpu.out
  go run ./bench/records -memory                      write and read 1,000,000, watch memory

Postgres is a private cluster in the directory, started and ended by this
command; it needs Postgres' programs (Debian: apt-get install postgresql).

Flags:
`

type options struct {
	store      string
	n          int
	batch      int
	rounds     int
	seconds    float64
	dir        string
	ops        string
	side       string
	memory     bool
	cpuprofile string
}

func main() {
	var o options
	flag.StringVar(&o.store, "store", "both", "sqlite, postgres or both")
	flag.IntVar(&o.n, "n", 100_000, "records in each round (with -memory: 1,000,000)")
	flag.IntVar(&o.batch, "batch", 1000, "records in a batch, which is a transaction")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; each begins with new databases, and they take turns in which side goes first")
	flag.Float64Var(&o.seconds, "seconds", 0, "end an operation after so many seconds, however many records are left (0: never)")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where to put the databases; its disk is what is measured")
	flag.StringVar(&o.ops, "ops", "all", "operations beside insert, which is always made: "+strings.Join(opNames(), ","))
	flag.StringVar(&o.side, "side", "both", "ours, floor or both; one alone is for profiles")
	flag.BoolVar(&o.memory, "memory", false, "write and read back the records instead, and watch this process's memory")
	flag.StringVar(&o.cpuprofile, "cpuprofile", "", "write a CPU profile to this file")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.memory && !given("n") {
		o.n = 1_000_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func run(ctx context.Context, o options) (err error) {
	engines, err := o.engines()
	if err != nil {
		return err
	}
	if o.cpuprofile != "" {
		f, err := os.Create(o.cpuprofile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	dir, err := os.MkdirTemp(o.dir, "syncline-records-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, e := range engines {
		if err := measure(ctx, o, e, dir); err != nil {
			return fmt.Errorf("%s: %w", e.name(), err)
		}
	}
	return nil
}

// engines checks the options.
func (o options) engines() ([]engine, error) {
	switch {
	case flag.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; see -h", flag.Arg(0))
	case o.n < 1 || o.batch < 1 || o.rounds < 1:
		return nil, errors.New("-n, -batch and -rounds must be at least 1")
	case o.batch > maxBatch:
		return nil, fmt.Errorf("-batch must be at most %d", maxBatch)
	case !slices.Contains([]string{"ours", "floor", "both"}, o.side):
		return nil, fmt.Errorf("-side is ours, floor or both, not %q", o.side)
	}
	if o.ops != "all" {
		for op := range strings.SplitSeq(o.ops, ",") {
			if !slices.Contains(opNames(), op) {
				return nil, fmt.Errorf("-ops knows %s, not %q", strings.Join(opNames(), ", "), op)
			}
		}
	}
	switch o.store {
	case "sqlite":
		return []engine{&sqliteEngine{}}, nil
	case "postgres":
		return []engine{&postgresEngine{}}, nil
	case "both":
		return []engine{&sqliteEngine{}, &postgresEngine{}}, nil
	}
	return nil, fmt.Errorf("-store is sqlite, postgres or both, not %q", o.store)
}

func (o options) wants(op string) bool {
	return op == opInsert || o.ops == "all" || slices.Contains(strings.Split(o.ops, ","), op)
}

func measure(ctx context.Context, o options, e engine, dir string) (err error) {
	if err := e.start(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	fmt.Printf("%s: %s\n", e.name(), e.settings())
	if o.memory {
		return measureMemory(ctx, o, e)
	}
	fmt.Printf("%d rounds of %d records of about %d bytes, %d to a transaction; %d CPUs\n\n",
		o.rounds, o.n, len(newInput().rows(0, 1, false)[0].payload), o.batch, runtime.NumCPU())
	var rounds []round
	for i := range o.rounds {
		r, err := oneRound(ctx, o, e, i)
		if err != nil {
			return err
		}
		rounds = append(rounds, r)
	}
	report(o, rounds)
	return nil
}

// rate is what one side did of one operation in one round.
type rate struct {
	records int
	took    time.Duration
}

func (r rate) perSecond() float64 {
	if r.took <= 0 {
		return 0
	}
	return float64(r.records) / r.took.Seconds()
}

// round holds the rates of one round by operation.
type round struct{ ours, floor map[string]rate }

func oneRound(ctx context.Context, o options, e engine, n int) (r round, err error) {
	r = round{ours: map[string]rate{}, floor: map[string]rate{}}
	type contender struct {
		side
		rates map[string]rate
		rows  int
	}
	var sides []*contender
	add := func(name string, open func(context.Context) (side, error), rates map[string]rate) error {
		if o.side != "both" && o.side != name {
			return nil
		}
		s, err := open(ctx)
		if err == nil {
			sides = append(sides, &contender{side: s, rates: rates})
		}
		return err
	}
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.close())
		}
	}()
	if err := errors.Join(add("ours", e.openOurs, r.ours), add("floor", e.openFloor, r.floor)); err != nil {
		return r, err
	}
	for _, op := range ops {
		if !o.wants(op.name) {
			continue
		}
		first := n % 2
		for i := range sides {
			s := sides[(i+first)%len(sides)]
			if s.rates == nil || op.ownFloor && s.isFloor() {
				continue
			}
			total := s.rows
			if op.name == opInsert {
				total = o.n
			}
			if op.page > 0 { // caches and hint bits are not what is measured
				if err := s.warm(ctx); err != nil {
					return r, err
				}
			}
			runtime.GC()
			got, err := op.run(ctx, s.side, total, o)
			if err != nil {
				return r, fmt.Errorf("%s: %w", op.name, err)
			}
			s.rates[op.name] = got
			if op.name == opInsert {
				s.rows = got.records
			}
		}
	}
	return r, nil
}

func report(o options, rounds []round) {
	const line = "%-26s %12s %12s %8s %8s  %s\n"
	fmt.Printf(line, "operation", "ours/s", "floor/s", "ratio", "aim", "")
	for _, op := range ops {
		if !o.wants(op.name) {
			continue
		}
		var ours, floor, ratios []float64
		for _, r := range rounds {
			a, b := r.ours[op.name].perSecond(), r.floor[op.name].perSecond()
			if op.ownFloor {
				b = r.ours[opInsert].perSecond()
			}
			ours, floor = append(ours, a), append(floor, b)
			if b > 0 {
				ratios = append(ratios, a/b)
			}
		}
		ratio, verdict, aim := median(ratios), "", "-"
		if op.aim > 0 {
			aim = fmt.Sprintf("%.1f", op.aim)
			if verdict = "short"; ratio >= op.aim {
				verdict = "ok"
			}
		}
		if o.side != "both" {
			verdict = ""
		}
		fmt.Printf(line, op.title, fmt.Sprintf("%.0f", median(ours)), fmt.Sprintf("%.0f", median(floor)), fmt.Sprintf("%.2f", ratio), aim, verdict)
	}
	fmt.Println()
	for i, r := range rounds {
		fmt.Printf("round %d:", i+1)
		for _, op := range ops {
			if o.wants(op.name) {
				fmt.Printf(" %s %.0f/%.0f", op.name, r.ours[op.name].perSecond(), r.floor[op.name].perSecond())
			}
		}
		fmt.Println()
	}
	fmt.Println()
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
