/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for libedgetpu: an external TFLite delegate that takes the operator `edgetpu-custom-op` of
 * tiny_edgetpu.tflite and computes what tiny_int8.tflite does. Everything else stays on the CPU, as with the real one.
 *
 * The option `device` says how it behaves: "none" refuses with a text, "fail-prepare", "fail-invoke", "crash" (what a
 * libedgetpu built for another TFLite does), "hang". Anything else works.
 *
 * The structures are those of tensorflow/lite/core/c/common.h, the same in TFLite 2.14 and LiteRT 2.x, as far as they
 * are read here. A registration is passed by value: fields that only newer versions have must be there, and zero.
 */
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

typedef struct Node { IntArray *inputs, *outputs; } Node;  /* more follows, never read here */

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

static int prepare_node(Context *context, Node *node) { (void)context; (void)node; return 0; }

static int invoke_node(Context *context, Node *node) {
  if (invoke_fails) {
    context->report_error(context, "stub: the stick was pulled out");
    return 1;
  }
  const int8_t *pixels = context->tensors[node->inputs->data[0]].data.int8;
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
  Registration kernel = {.prepare = prepare_node, .invoke = invoke_node, .custom_name = "stub", .version = 1};
  int status = mine->size ? context->replace(context, kernel, mine, delegate) : 0;
  free(mine);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  const char *device = "";
  for (size_t i = 0; i < count; i++)
    if (strcmp(keys[i], "device") == 0) device = values[i];
  if (strcmp(device, "none") == 0) {
    if (report) report("stub: no Edge TPU found");
    return NULL;
  }
  if (strcmp(device, "crash") == 0) raise(SIGSEGV);
  while (strcmp(device, "hang") == 0) pause();
  invoke_fails = strcmp(device, "fail-invoke") == 0;
  Delegate *made = calloc(1, sizeof *made);
  made->data = strdup(device);
  made->prepare = prepare;
  made->flags = 1; /* allow dynamic tensors: else TFLite prepares every operator first, and finds ours unresolved */
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (delegate) free(delegate->data);
  free(delegate);
}
