// SPDX-License-Identifier: Apache-2.0
/*
 * gRPC over a UNIX socket, with its synchronous server, as its own guide sets one up. Its threads
 * and its listening socket need what the filter refuses, so the filter comes with the first call.
 */

#include <bench/caller.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <bench/server.h>

#include "caller_grpc.grpc.pb.h"

namespace
{

std::string folder;

std::string address()
{
	return "unix:" + folder + "/socket";
}

class Service final : public bench::Echo::Service
{
	std::once_flag confined;

	grpc::Status Call(grpc::ServerContext *, const bench::Scalars *in,
			  bench::Scalars *out) override
	{
		std::call_once(confined, server_confine);
		for (int i = 0; i < in->value_size(); i++)
			out->add_value(in->value(i) + 1);
		return grpc::Status::OK;
	}
};

void serve(void *)
{
	Service service;
	grpc::ServerBuilder builder;
	builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
	builder.RegisterService(&service);
	auto server = builder.BuildAndStart();
	if (server == nullptr)
		server_die("gRPC");
	server->Wait();
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

struct caller caller_grpc = { "grpc", open_channel, call, nullptr, 0, nullptr };
