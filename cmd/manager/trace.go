package main

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/tracing"
	tracingv1 "k8s.io/component-base/tracing/api/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// flushTimeout bounds what the operator's end waits for the collector to take the last traces.
const flushTimeout = 2 * time.Second

// trace sends traces of the reconciles, and of the requests that they make with config, where the options say so. The
// function that it returns sends what is left.
func trace(ctx context.Context, config *rest.Config, o options) (flush func(), err error) {
	if o.tracesTo == "" {
		return func() {}, nil
	}
	provider, err := tracing.NewProvider(ctx, &tracingv1.TracingConfiguration{
		Endpoint:               &o.tracesTo,
		SamplingRatePerMillion: ptr.To(int32(min(o.tracesSampled, 1_000_000))),
	}, nil, []resource.Option{resource.WithAttributes(attribute.String("service.name", "batchrun-operator"))})
	if err != nil {
		return nil, err
	}
	otel.SetTracerProvider(provider)
	config.Wrap(tracing.WrapperFor(provider))
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			ctrl.Log.Error(err, "the last traces were not sent")
		}
	}, nil
}
