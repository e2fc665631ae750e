package umbrashadow

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"testing"
)

func TestMarks(t *testing.T) {
	bytes, err := os.ReadFile("../marks.json")
	if err != nil {
		t.Fatal(err)
	}
	var marks struct{ Hosts, Via [][2]any }
	if err := json.Unmarshal(bytes, &marks); err != nil {
		t.Fatal(err)
	}
	if len(marks.Hosts) == 0 || len(marks.Via) == 0 {
		t.Fatal("no marks")
	}
	for _, each := range marks.Hosts {
		host, found := unmarked(each[0].(string))
		if found != (each[1] != nil) || found && host != each[1] {
			t.Errorf("%v: %q %v", each, host, found)
		}
	}
	for _, each := range marks.Via {
		if namesUmbra(each[0].(string)) != each[1] {
			t.Errorf("%v", each)
		}
	}
}

// A database that says what happened to it.
type database struct{ said []string }

func (d *database) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d *database) Driver() driver.Driver                        { return nil }
func (d *database) Close() error                                 { return nil }
func (d *database) Begin() (driver.Tx, error)                    { return d, nil }
func (d *database) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (d *database) Commit() error                                { d.said = append(d.said, "commit"); return nil }
func (d *database) Rollback() error                              { d.said = append(d.said, "rollback"); return nil }
func (d *database) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	d.said = append(d.said, query)
	return driver.ResultNoRows, nil
}

type response struct {
	status int
	said   []string
	called http.Header
	host   string
}

// One request with these fields to a service that writes and calls another.
func serve(t *testing.T, options Options, fields map[string]string, fail error) response {
	t.Helper()
	var got response
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got.called, got.host = r.Header, r.Host
	}))
	defer other.Close()
	connector := &database{}
	db := sql.OpenDB(connector)
	defer db.Close()
	service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := InTx(r.Context(), db, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(r.Context(), "write"); err != nil {
				return err
			}
			return fail
		})
		if !errors.Is(err, fail) {
			t.Error(err)
		}
		if r.Host != "shop" {
			t.Error(r.Host)
		}
		call, _ := http.NewRequestWithContext(r.Context(), "POST", other.URL, nil)
		call.Host = "stock:80"
		answer, err := (&http.Client{Transport: Transport{}}).Do(call)
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
	})
	request := httptest.NewRequest("POST", "/", nil)
	request.Host = fields["Host"]
	for name, value := range fields {
		if name != "Host" {
			request.Header.Set(name, value)
		}
	}
	answer := httptest.NewRecorder()
	Middleware(service, options).ServeHTTP(answer, request)
	got.status, got.said = answer.Code, connector.said
	return got
}

func TestRequests(t *testing.T) {
	shadow := map[string]string{"Host": "shop-shadow"}
	production := serve(t, Options{}, map[string]string{"Host": "shop"}, nil)
	if !reflect.DeepEqual(production.said, []string{"write", "commit"}) || production.host != "stock:80" {
		t.Errorf("%v", production)
	}
	via := map[string]string{"Host": "shop", "Via": "1.1 umbra-shadow (job; id)"}
	for _, fields := range []map[string]string{shadow, via} {
		got := serve(t, Options{}, fields, nil)
		if len(got.said) != 4 || got.said[1] != "write" || got.said[3] != "rollback" {
			t.Errorf("%v: %v", fields, got.said)
		}
		if got.host != "stock-shadow:80" || !namesUmbra(got.called.Get("Via")) {
			t.Errorf("%v: %v", fields, got)
		}
	}
	failed := serve(t, Options{}, shadow, errors.New("no stock"))
	if last := failed.said[len(failed.said)-1]; last != "rollback" {
		t.Errorf("%v", failed.said)
	}
	for _, refused := range []response{
		serve(t, Options{Token: "secret"}, shadow, nil),
		serve(t, Options{Refuse: true}, shadow, nil),
		serve(t, Options{Only: true}, map[string]string{"Host": "shop"}, nil),
	} {
		if refused.status != http.StatusForbidden || len(refused.said) > 0 {
			t.Errorf("%v", refused)
		}
	}
	with := map[string]string{"Host": "shop-shadow", "X-Shadow-Token": "secret"}
	if got := serve(t, Options{Token: "secret"}, with, nil); got.called.Get("X-Shadow-Token") != "secret" {
		t.Errorf("%v", got)
	}
}
