/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for libedgetpu: an external TFLite delegate that takes the operator `edgetpu-custom-op` of
 * tiny_edgetpu.tflite and computes what tiny_int8.tflite does. Everything else stays on the CPU, as with the real one.
 *
 * The option `device` says how it behaves: "none" refuses with a text, "fail-prepare", "fail-invoke", "crash" (what a
 * libedgetpu built for another TFLite does), "hang". Anything else works.
 *
 * A file beside the library, its name with `.script` at its end, scripts more; it is read at each load and each invoke, so
 * a test may change it while a process runs. One line:
 *   ok             all is well                      fail         invoke fails, a new delegate too
 *   vanish         invoke fails, loading refuses    stall, crash in invoke
 *   stall-load, crash-load                          slow MS      invoke takes so long
 *   at N VERB      the Nth invoke of this process does VERB, all others work: trying again helps
 *   after N VERB   from a delegate's Nth invoke on it does VERB: a new delegate helps
 *
 * A custom operator whose output is as large as its input is a copy: how tests make a "compiled" model of any other.
 *
 * The structures are those of tensorflow/lite/core/c/common.h, the same in TFLite 2.14 and LiteRT 2.x, as far as they
 * are read here. A registration is passed by value: fields that only newer versions have must be there, and zero.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } IntArray;

typedef struct Tensor {
  int type;
  union { int8_t *int8; void *any; } data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  void *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

/* More follows, never read here. */
typedef struct Node { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;

typedef struct Context Context;

typedef struct Registration {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *newer[8];
} Registration;

typedef struct Delegate {
  void *data;
  int (*prepare)(Context *, struct Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque_builder;
} Delegate;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  void *resize_tensor;
  void (*report_error)(Context *, const char *, ...);
  void *add_tensors;
  int (*get_node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const IntArray *, Delegate *);
};

static bool invoke_fails;
static int invokes; /* of this process */
int delegates;      /* that are alive; tests look at it */

typedef struct Kernel { int invokes; } Kernel; /* of one delegate */

/* The script's line, or "ok" where there is none; `at` and `after` are resolved by the two counts, from 1. */
static const char *script(int mine, char line[256]) {
  Dl_info here;
  char path[4096];
  if (dladdr((void *)script, &here) == 0) return "ok";
  snprintf(path, sizeof path, "%s.script", here.dli_fname);
  FILE *file = fopen(path, "r");
  if (!file) return "ok";
  if (!fgets(line, 256, file)) line[0] = 0;
  fclose(file);
  line[strcspn(line, "\n")] = 0;
  int number = 0, skip = 0;
  if (sscanf(line, "at %d %n", &number, &skip) == 1 && skip) return mine && invokes == number ? line + skip : "ok";
  if (sscanf(line, "after %d %n", &number, &skip) == 1 && skip) return mine > number ? line + skip : "ok";
  return line;
}

static int prepare_node(Context *context, Node *node) { (void)context; (void)node; return 0; }

static void *init_kernel(Context *context, const char *buffer, size_t length) {
  (void)context; (void)buffer; (void)length;
  return calloc(1, sizeof(Kernel));
}

static void free_kernel(Context *context, void *kernel) { (void)context; free(kernel); }

static int invoke_node(Context *context, Node *node) {
  char line[256];
  Kernel *kernel = node->user_data;
  invokes++;
  const char *verb = script(++kernel->invokes, line);
  if (strcmp(verb, "crash") == 0) raise(SIGSEGV);
  while (strcmp(verb, "stall") == 0) pause();
  if (strncmp(verb, "slow ", 5) == 0) usleep((useconds_t)atoi(verb + 5) * 1000);
  if (invoke_fails || strcmp(verb, "fail") == 0 || strcmp(verb, "vanish") == 0) {
    context->report_error(context, "stub: the stick was pulled out");
    return 1;
  }
  const int8_t *pixels = context->tensors[node->inputs->data[0]].data.int8;
  Tensor *only = &context->tensors[node->outputs->data[0]];
  if (node->outputs->size == 1 && only->bytes == context->tensors[node->inputs->data[0]].bytes) {
    memcpy(only->data.any, pixels, only->bytes);
    return 0;
  }
  Tensor *first = &context->tensors[node->outputs->data[0]], *second = &context->tensors[node->outputs->data[1]];
  int8_t *mean = first->bytes == 16 ? first->data.int8 : second->data.int8;
  int8_t *peak = first->bytes == 16 ? second->data.int8 : first->data.int8;
  for (int i = 0; i < 16; i++) {
    int sum = pixels[3 * i] + pixels[3 * i + 1] + pixels[3 * i + 2] + 3 * 128;
    mean[i] = (int8_t)((sum * 2 + 3) / 6 - 128);
  }
  for (int i = 0; i < 4; i++) {
    const int8_t *corner = mean + 8 * (i / 2) + 2 * (i % 2);
    int8_t top = corner[0] > corner[1] ? corner[0] : corner[1];
    int8_t bottom = corner[4] > corner[5] ? corner[4] : corner[5];
    peak[i] = top > bottom ? top : bottom;
  }
  return 0;
}

static int prepare(Context *context, Delegate *delegate) {
  if (strcmp(delegate->data, "fail-prepare") == 0) {
    context->report_error(context, "stub: the model needs a newer runtime");
    return 1;
  }
  IntArray *plan;
  if (context->get_execution_plan(context, &plan) != 0) return 1;
  IntArray *mine = calloc(1, sizeof(int) * (size_t)(plan->size + 1));
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    if (context->get_node_and_registration(context, plan->data[i], &node, &registration) != 0) continue;
    if (registration->custom_name && strcmp(registration->custom_name, "edgetpu-custom-op") == 0)
      mine->data[mine->size++] = plan->data[i];
  }
  Registration kernel = {.init = init_kernel, .free = free_kernel, .prepare = prepare_node, .invoke = invoke_node,
                         .custom_name = "stub", .version = 1};
  int status = mine->size ? context->replace(context, kernel, mine, delegate) : 0;
  free(mine);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  const char *device = "";
  for (size_t i = 0; i < count; i++)
    if (strcmp(keys[i], "device") == 0) device = values[i];
  char line[256];
  const char *verb = script(0, line);
  if (strcmp(device, "none") == 0 || strcmp(verb, "vanish") == 0) {
    if (report) report("stub: no Edge TPU found");
    return NULL;
  }
  if (strcmp(device, "crash") == 0 || strcmp(verb, "crash-load") == 0) raise(SIGSEGV);
  while (strcmp(device, "hang") == 0 || strcmp(verb, "stall-load") == 0) pause();
  invoke_fails = strcmp(device, "fail-invoke") == 0;
  delegates++;
  Delegate *made = calloc(1, sizeof *made);
  made->data = strdup(device);
  made->prepare = prepare;
  made->flags = 1; /* allow dynamic tensors: else TFLite prepares every operator first, and finds ours unresolved */
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (delegate) free(delegate->data), delegates--;
  free(delegate);
}
