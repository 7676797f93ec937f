// SPDX-License-Identifier: Apache-2.0
/*
 * gRPC over a UNIX socket, with a server of one thread and a completion queue, which is its fastest. To
 * listen and to accept needs what the filter refuses, so the filter comes with the first call.
 */

#include <bench/caller.h>

#include <cstdlib>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <bench/caller_grpc.grpc.pb.h>
#include <bench/server.h>

namespace
{

std::string folder;

std::string address()
{
	return "unix:" + folder + "/socket";
}

/* One call on the server: waiting for it, then sending its reply. */
struct Exchange {
	grpc::ServerContext context;
	grpc::ServerAsyncResponseWriter<bench::Scalars> writer;
	bench::Scalars in, out;
	bool answered = false;

	Exchange() : writer(&context)
	{
	}
};

void serve(void *)
{
	bench::Echo::AsyncService service;
	grpc::ServerBuilder builder;
	builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
	builder.RegisterService(&service);
	auto queue = builder.AddCompletionQueue();
	auto server = builder.BuildAndStart();
	if (server == nullptr)
		server_die("gRPC");
	auto expect = [&] {
		auto *next = new Exchange;
		service.RequestCall(&next->context, &next->in, &next->writer, queue.get(),
				    queue.get(), next);
	};
	bool ok, confined = false;
	expect();
	for (void *tag; queue->Next(&tag, &ok);) {
		auto *exchange = static_cast<Exchange *>(tag);
		if (!ok || exchange->answered) {
			delete exchange;
			continue;
		}
		if (!confined)
			server_confine();
		confined = true;
		expect();
		for (uint64_t value : exchange->in.value())
			exchange->out.add_value(value + 1);
		exchange->answered = true;
		exchange->writer.Finish(exchange->out, grpc::Status::OK, exchange);
	}
}

bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	auto *stub = static_cast<bench::Echo::Stub *>(caller->state);
	grpc::ClientContext context;
	bench::Scalars request, reply;
	context.set_wait_for_ready(true);
	for (int i = 0; i < CALLER_SCALARS; i++)
		request.add_value(in[i]);
	if (!stub->Call(&context, request, &reply).ok() || reply.value_size() != CALLER_SCALARS)
		return false;
	for (int i = 0; i < CALLER_SCALARS; i++)
		out[i] = reply.value(i);
	return true;
}

void open_channel(struct caller *caller)
{
	char name[] = "/tmp/dext-bench.XXXXXX";
	if (mkdtemp(name) == nullptr)
		server_die(name);
	folder = name;
	caller->server = server_fork(serve, nullptr);
	caller->state = bench::Echo::NewStub(grpc::CreateChannel(
						     address(), grpc::InsecureChannelCredentials()))
				.release();
	uint64_t in[CALLER_SCALARS] = {}, out[CALLER_SCALARS];
	bool ok = call(caller, in, out);
	unlink((folder + "/socket").c_str());
	rmdir(folder.c_str());
	if (!ok)
		server_die("gRPC");
}

}

struct caller caller_grpc = { "grpc", open_channel, call, nullptr, nullptr, 0, nullptr };
