package dash

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// How much of what there is one page shows.
const (
	runsOfOverview   = 15
	runsOfFunction   = 5
	deliveriesOnPage = 15
	logsOnPage       = 1000
	connectionsShown = 20
)

// deliveryStates are the states in the order in which they are shown.
var deliveryStates = []syncline.DeliveryStatus{syncline.DeliveryProcessed, syncline.DeliveryRouted, syncline.DeliveryIgnored, syncline.DeliveryParked,
	syncline.DeliveryExpired, syncline.DeliveryDead}

// stateCount is how many deliveries are in a state.
type stateCount struct {
	Status syncline.DeliveryStatus
	Count  int
}

func countDeliveries(r store.Reader, env, integrationID int64) ([]stateCount, error) {
	var out []stateCount
	for _, status := range deliveryStates {
		n, err := r.CountDeliveries(env, store.DeliveryFilter{IntegrationID: integrationID, Status: status})
		if err != nil {
			return nil, err
		}
		// What all is about is shown at 0 too.
		if n > 0 || status == syncline.DeliveryProcessed || status == syncline.DeliveryRouted || status == syncline.DeliveryDead {
			out = append(out, stateCount{status, n})
		}
	}
	return out, nil
}

// overviewPage is all integrations of an environment.
type overviewPage struct {
	*viewer
	Title        string
	Integrations []integrationRow
	Deliveries   []stateCount
	Held         []heldRow
	Stalled      []stallRow
	Runs         runTable
}

// stallRow is a sync whose polls do not get on for a connection.
type stallRow struct {
	syncline.SyncInstance
	Sync, Integration, IntegrationLink, Connection string
	Checkpoint                                     string // as JSON; "" for none
}

// Variants are named as GET /records names them.
func (r stallRow) Name() string {
	if r.Variant == syncline.BaseVariant {
		return r.Sync
	}
	return r.Sync + "::" + r.Variant
}

// stalledOnPage is how many of them one page shows.
const stalledOnPage = 20

// stalled are the stalled syncs of an environment, or of one function.
func (n *names) stalled(f store.InstanceFilter) (rows []stallRow, err error) {
	env := n.v.Env.ID
	f.Stalled = true
	list, err := n.r.Instances(env, f)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b syncline.SyncInstance) int { return a.Progress.StalledAt.Compare(b.Progress.StalledAt) })
	for _, inst := range list[:min(len(list), stalledOnPage)] {
		row := stallRow{SyncInstance: inst, Checkpoint: string(inst.PollCheckpoint)}
		sync, err := once(n.functions, env, inst.FunctionID, n.r.Function)
		if err != nil {
			return nil, err
		}
		i, err := once(n.integrations, env, sync.IntegrationID, n.r.Integration)
		if err != nil {
			return nil, err
		}
		k, err := once(n.connections, env, inst.ConnectionID, n.r.Connection)
		if err != nil {
			return nil, err
		}
		row.Sync, row.Integration, row.Connection = sync.Name, i.UniqueKey, k.ConnectionID
		row.IntegrationLink = n.v.link("integrations", i.UniqueKey)
		rows = append(rows, row)
	}
	return rows, nil
}

// heldRow is deletes that wait for somebody to decide.
type heldRow struct {
	syncline.DeleteWindow
	Connection, Model string
}

// heldOnPage is how many of them one page shows.
const heldOnPage = 20

func heldDeletes(r store.Reader, env int64) (rows []heldRow, err error) {
	list, err := r.HeldWindows(env, store.Page{Limit: heldOnPage})
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		row := heldRow{DeleteWindow: w}
		coll, err := r.CollectionByID(env, w.CollectionID)
		if err != nil {
			return nil, err
		}
		row.Model = coll.Model
		k, err := r.Connection(env, coll.ConnectionID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			continue // its records go with it
		}
		if err != nil {
			return nil, err
		}
		row.Connection = k.ConnectionID
		rows = append(rows, row)
	}
	return rows, nil
}

type integrationRow struct {
	syncline.Integration
	Link        string
	Connections int
	Functions   int
	LastRun     *runRow
}

func (h *dash) overview(r store.Reader, v *viewer, _ *http.Request) (string, any, error) {
	p := overviewPage{viewer: v, Title: "Integrations"}
	env := v.Env.ID
	integrations, err := r.Integrations(env)
	if err != nil {
		return "", nil, err
	}
	names := newNames(r, v)
	for _, i := range integrations {
		row := integrationRow{Integration: i, Link: v.link("integrations", i.UniqueKey)}
		if row.Connections, err = r.CountConnections(env, store.ConnectionFilter{IntegrationID: i.ID}); err != nil {
			return "", nil, err
		}
		functions, err := r.Functions(env, i.ID)
		if err != nil {
			return "", nil, err
		}
		row.Functions = len(functions)
		var newest *syncline.Run
		for f := range functions {
			runs, err := r.Runs(env, store.RunFilter{FunctionID: functions[f].ID, Page: store.Page{Limit: 1}})
			if err != nil {
				return "", nil, err
			}
			if len(runs) > 0 && (newest == nil || runs[0].ID > newest.ID) {
				newest = &runs[0]
			}
		}
		if newest != nil {
			shown, err := names.row(newest)
			if err != nil {
				return "", nil, err
			}
			row.LastRun = &shown
		}
		p.Integrations = append(p.Integrations, row)
	}
	if p.Deliveries, err = countDeliveries(r, env, 0); err != nil {
		return "", nil, err
	}
	if p.Held, err = heldDeletes(r, env); err != nil {
		return "", nil, err
	}
	if p.Stalled, err = names.stalled(store.InstanceFilter{}); err != nil {
		return "", nil, err
	}
	runs, err := r.Runs(env, store.RunFilter{Page: store.Page{Limit: runsOfOverview}})
	if err != nil {
		return "", nil, err
	}
	p.Runs, err = names.table(runs, true)
	return "overview", p, err
}

// integrationPage is one integration with its endpoints.
type integrationPage struct {
	*viewer
	Title       string
	Integration syncline.Integration
	WebhookURL  string
	Connections int
	Newest      []syncline.Connection
	Counts      []stateCount
	Endpoints   []endpoint
	Deliveries  []syncline.DeliveryState
}

// endpoint is one function with what it has done.
type endpoint struct {
	syncline.Function
	Models          []string
	Started, Paused int // its instances
	Frequencies     int // how many instances have one of their own
	Stalls          int // how many instances are stalled
	Stalled         []stallRow
	Runs            runTable
}

func (h *dash) integration(r store.Reader, v *viewer, req *http.Request) (string, any, error) {
	env := v.Env.ID
	i, err := r.IntegrationByKey(env, req.PathValue("uniqueKey"))
	if err != nil {
		return "", nil, err
	}
	p := integrationPage{viewer: v, Title: i.DisplayName, Integration: i,
		WebhookURL: h.PublicURL + "/webhook/" + v.Env.UUID + "/" + url.PathEscape(i.UniqueKey)}
	if p.Connections, err = r.CountConnections(env, store.ConnectionFilter{IntegrationID: i.ID}); err != nil {
		return "", nil, err
	}
	if p.Newest, err = r.Connections(env, store.ConnectionFilter{IntegrationID: i.ID, Page: store.Page{Limit: connectionsShown}}); err != nil {
		return "", nil, err
	}
	if p.Counts, err = countDeliveries(r, env, i.ID); err != nil {
		return "", nil, err
	}
	if p.Deliveries, err = r.Deliveries(env, store.DeliveryFilter{IntegrationID: i.ID, Page: store.Page{Limit: deliveriesOnPage}}); err != nil {
		return "", nil, err
	}
	functions, err := r.Functions(env, i.ID)
	if err != nil {
		return "", nil, err
	}
	names := newNames(r, v)
	for _, f := range functions {
		e := endpoint{Function: f}
		for model := range f.Active.Manifest.Models {
			e.Models = append(e.Models, model)
		}
		slices.Sort(e.Models)
		instances, err := r.Instances(env, store.InstanceFilter{FunctionID: f.ID})
		if err != nil {
			return "", nil, err
		}
		for _, inst := range instances {
			if inst.State == syncline.InstanceStarted {
				e.Started++
			} else {
				e.Paused++
			}
			if inst.FrequencyOverride != "" {
				e.Frequencies++
			}
			if inst.Progress.Stalled() {
				e.Stalls++
			}
		}
		if e.Stalls > 0 {
			if e.Stalled, err = names.stalled(store.InstanceFilter{FunctionID: f.ID}); err != nil {
				return "", nil, err
			}
		}
		runs, err := r.Runs(env, store.RunFilter{FunctionID: f.ID, Page: store.Page{Limit: runsOfFunction}})
		if err != nil {
			return "", nil, err
		}
		if e.Runs, err = names.table(runs, false); err != nil {
			return "", nil, err
		}
		p.Endpoints = append(p.Endpoints, e)
	}
	slices.SortStableFunc(p.Endpoints, func(a, b endpoint) int {
		return cmp.Or(-cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name)) // syncs first
	})
	return "integration", p, nil
}

// runPage is one run with its logs.
type runPage struct {
	*viewer
	Title    string
	Run      runRow
	Logs     []syncline.LogLine
	MoreLogs bool
}

func (h *dash) run(r store.Reader, v *viewer, req *http.Request) (string, any, error) {
	run, err := r.RunByUUID(v.Env.ID, req.PathValue("uuid"))
	if err != nil {
		return "", nil, err
	}
	p := runPage{viewer: v}
	if p.Run, err = newNames(r, v).row(&run); err != nil {
		return "", nil, err
	}
	p.Title = "Run of " + p.Run.Function
	p.Logs, err = r.Logs(v.Env.ID, run.ID, 0, logsOnPage+1)
	if len(p.Logs) > logsOnPage {
		p.Logs, p.MoreLogs = p.Logs[:logsOnPage], true
	}
	return "run", p, err
}

// runRow is a run with the names that it is shown with.
type runRow struct {
	syncline.Run
	Link            string
	Function        string
	Version         int64
	Integration     string
	IntegrationLink string
	Connection      string // "" once it was deleted
	Counts          []modelCount
	Took            time.Duration
}

// modelCount is what a run did to one model.
type modelCount struct {
	Model string
	syncline.ModelResult
}

// names finds the names of what runs point to, each once.
type names struct {
	r            store.Reader
	v            *viewer
	functions    map[int64]syncline.Function
	versions     map[int64]syncline.FunctionVersion
	integrations map[int64]syncline.Integration
	connections  map[int64]syncline.Connection
}

func newNames(r store.Reader, v *viewer) *names {
	return &names{r, v, map[int64]syncline.Function{}, map[int64]syncline.FunctionVersion{}, map[int64]syncline.Integration{}, map[int64]syncline.Connection{}}
}

// once reads what id names once; what is gone is its zero value.
func once[V any](known map[int64]V, env, id int64, read func(env, id int64) (V, error)) (V, error) {
	if v, hit := known[id]; hit || id == 0 {
		return v, nil
	}
	v, err := read(env, id)
	if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
		return v, err
	}
	known[id] = v
	return v, nil
}

func (n *names) row(run *syncline.Run) (runRow, error) {
	out := runRow{Run: *run, Link: n.v.link("runs", run.UUID)}
	env := n.v.Env.ID
	f, err := once(n.functions, env, run.FunctionID, n.r.Function)
	if err != nil {
		return out, err
	}
	version, err := once(n.versions, env, run.VersionID, n.r.FunctionVersion)
	if err != nil {
		return out, err
	}
	i, err := once(n.integrations, env, f.IntegrationID, n.r.Integration)
	if err != nil {
		return out, err
	}
	k, err := once(n.connections, env, run.ConnectionID, n.r.Connection)
	if err != nil {
		return out, err
	}
	out.Function, out.Version, out.Integration, out.Connection = f.Name, version.Number, i.UniqueKey, k.ConnectionID
	if i.UniqueKey != "" {
		out.IntegrationLink = n.v.link("integrations", i.UniqueKey)
	}
	for model, m := range run.Models {
		out.Counts = append(out.Counts, modelCount{model, m})
	}
	slices.SortFunc(out.Counts, func(a, b modelCount) int { return cmp.Compare(a.Model, b.Model) })
	if !run.FinishedAt.IsZero() {
		out.Took = run.FinishedAt.Sub(run.StartedAt)
	}
	return out, nil
}

// runTable are runs, newest first; Named shows the function of each.
type runTable struct {
	Rows  []runRow
	Named bool
}

func (n *names) table(runs []syncline.Run, named bool) (runTable, error) {
	out := runTable{Named: named}
	for i := range runs {
		row, err := n.row(&runs[i])
		if err != nil {
			return out, err
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}
