package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Trace has every question to the member become a span of whatever request it is part of. It must be called before anybody has taken the client.
func (m *Member) Trace(p trace.TracerProvider) {
	m.client.KV = &tracedKV{KV: m.client.KV, tracer: p.Tracer("github.com/gitopsd/gitopsd/internal/controlplane/etcd")}
}

// tracedKV names its spans as a client that goes over the network would: by the methods of etcd's service.
type tracedKV struct {
	clientv3.KV
	tracer trace.Tracer
}

// span runs ask as a span of the one in ctx. A question that is part of no recorded request is none of anybody's trace.
func (k *tracedKV) span(ctx context.Context, method string, ask func(context.Context) error, about ...attribute.KeyValue) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		_ = ask(ctx) // the caller keeps the error
		return
	}
	about = append(about, attribute.String("db.system.name", "etcd"), attribute.String("rpc.service", "etcdserverpb.KV"), attribute.String("rpc.method", method))
	ctx, span := k.tracer.Start(ctx, "etcdserverpb.KV/"+method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about...))
	defer span.End()
	if err := ask(ctx); err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
}

func key(k string) attribute.KeyValue { return attribute.String("db.etcd.key", k) }

func (k *tracedKV) Get(ctx context.Context, name string, opts ...clientv3.OpOption) (r *clientv3.GetResponse, err error) {
	k.span(ctx, "Range", func(ctx context.Context) error {
		r, err = k.KV.Get(ctx, name, opts...)
		return err
	}, key(name))
	return r, err
}

func (k *tracedKV) Put(ctx context.Context, name, value string, opts ...clientv3.OpOption) (r *clientv3.PutResponse, err error) {
	k.span(ctx, "Put", func(ctx context.Context) error {
		r, err = k.KV.Put(ctx, name, value, opts...)
		return err
	}, key(name))
	return r, err
}

func (k *tracedKV) Delete(ctx context.Context, name string, opts ...clientv3.OpOption) (r *clientv3.DeleteResponse, err error) {
	k.span(ctx, "DeleteRange", func(ctx context.Context) error {
		r, err = k.KV.Delete(ctx, name, opts...)
		return err
	}, key(name))
	return r, err
}

func (k *tracedKV) Txn(ctx context.Context) clientv3.Txn { return &tracedTxn{kv: k, ctx: ctx} }

// tracedTxn collects a transaction and makes it within its span.
type tracedTxn struct {
	kv   *tracedKV
	ctx  context.Context
	cmps []clientv3.Cmp
	then []clientv3.Op
	els  []clientv3.Op
}

func (t *tracedTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.cmps = append(t.cmps, cs...)
	return t
}

func (t *tracedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.then = append(t.then, ops...)
	return t
}

func (t *tracedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.els = append(t.els, ops...)
	return t
}

func (t *tracedTxn) Commit() (r *clientv3.TxnResponse, err error) {
	var about []attribute.KeyValue
	if len(t.then) > 0 {
		about = append(about, key(string(t.then[0].KeyBytes())))
	}
	t.kv.span(t.ctx, "Txn", func(ctx context.Context) error {
		txn := t.kv.KV.Txn(ctx)
		if len(t.cmps) > 0 {
			txn = txn.If(t.cmps...)
		}
		if len(t.then) > 0 {
			txn = txn.Then(t.then...)
		}
		if len(t.els) > 0 {
			txn = txn.Else(t.els...)
		}
		r, err = txn.Commit()
		return err
	}, about...)
	return r, err
}
