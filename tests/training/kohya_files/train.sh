#!/bin/bash
# The variables of lora-scripts' train.sh, and a launch command like its own.
pretrained_model="./models/base.safetensors" # base model
model_type="sd1.5"
parameterization=0

train_data_dir="./train/cat"
reg_data_dir=""

network_module="networks.lora"
network_weights=""
network_dim=32
network_alpha=16

resolution="512,768" # a # in a "comment"
batch_size=2
max_train_epoches=12
save_every_n_epochs=2

train_unet_only=1
train_text_encoder_only=0
stop_text_encoder_training=0

noise_offset="0.1"
keep_tokens=3
min_snr_gamma=5

lr='1e-4'
unet_lr="1e-4"
text_encoder_lr="1e-5"
lr_scheduler="cosine"
lr_warmup_steps=100
lr_restart_cycles=1

optimizer_type="DAdaptation"

output_name="cat"
save_model_as="safetensors"

save_state=0
resume=""

min_bucket_reso=256
max_bucket_reso=1024
persistent_data_loader_workers=1
clip_skip=2
multi_gpu=0
lowram=0

algo="lora"
conv_dim=4
conv_alpha=4
dropout="0"

use_wandb=0
wandb_api_key=""
log_tracker_name=""

export HF_HOME="cache"

extArgs=()
launchArgs=()
trainer_file="./train_network.py"

if [[ $model_type == "sdxl" ]]; then
  trainer_file="./sdxl_train_network.py"
elif [[ $model_type == "flux" ]]; then
  trainer_file="./flux_train_network.py"
elif [[ $model_type == "sd1.5" ]]; then
  ext_args+=("--clip_skip $clip_skip") # never passed on: another name
fi
if [[ $multi_gpu == 1 ]]; then launchArgs+=("--multi_gpu" "--num_processes=2"); fi
if [ $train_unet_only == 1 ]; then extArgs+=("--network_train_unet_only"); fi
if [ $train_text_encoder_only == 1 ]; then extArgs+=("--network_train_text_encoder_only"); fi
if [[ $network_weights ]]; then extArgs+=("--network_weights $network_weights"); fi
[[ $reg_data_dir ]] && extArgs+=("--reg_data_dir $reg_data_dir")
if [[ $optimizer_type ]]; then extArgs+=("--optimizer_type $optimizer_type"); fi
if [[ $optimizer_type == "DAdaptation" ]]; then extArgs+=("--optimizer_args decouple=True"); fi
if [[ $save_state == 1 ]]; then extArgs+=("--save_state"); fi
if [[ $resume ]]; then extArgs+=("--resume $resume"); fi
if [[ $persistent_data_loader_workers == 1 ]]; then extArgs+=("--persistent_data_loader_workers"); fi
if [[ $network_module == "lycoris.kohya" ]]; then
  extArgs+=("--network_args conv_dim=$conv_dim conv_alpha=$conv_alpha algo=$algo dropout=$dropout")
fi
if [[ $stop_text_encoder_training -ne 0 ]]; then
  extArgs+=("--stop_text_encoder_training $stop_text_encoder_training")
fi
if [[ $noise_offset != "0" ]]; then extArgs+=("--noise_offset $noise_offset"); fi
if [[ $min_snr_gamma -ne 0 ]]; then extArgs+=("--min_snr_gamma $min_snr_gamma"); fi
if [[ $parameterization == 1 ]]; then extArgs+=("--v_parameterization"); fi
if [[ $lowram ]]; then extArgs+=("--lowram"); fi
if [[ $use_wandb == 1 ]]; then
  extArgs+=("--log_with=all")
  if [[ $wandb_api_key ]]; then extArgs+=("--wandb_api_key $wandb_api_key"); fi
  if [[ $log_tracker_name ]]; then extArgs+=("--log_tracker_name $log_tracker_name"); fi
else
  extArgs+=("--log_with=tensorboard")
fi

accelerate launch ${launchArgs[@]} $trainer_file --shuffle_caption --xformers --cache_latents --enable_bucket \
  --pretrained_model_name_or_path=$pretrained_model --train_data_dir=$train_data_dir --resolution=$resolution \
  --output_dir="./output" --output_name=$output_name --logging_dir="./logs" --log_prefix=$output_name \
  --network_module=$network_module --network_dim=$network_dim --network_alpha=$network_alpha \
  --train_batch_size=${batch_size} --max_train_epochs=$max_train_epoches --save_every_n_epochs=$save_every_n_epochs \
  --learning_rate=$lr --unet_lr=$unet_lr --text_encoder_lr=$text_encoder_lr --lr_scheduler=$lr_scheduler \
  --lr_warmup_steps=$lr_warmup_steps --lr_scheduler_num_cycles=$lr_restart_cycles \
  --min_bucket_reso=$min_bucket_reso --max_bucket_reso=$max_bucket_reso --keep_tokens=$keep_tokens \
  --mixed_precision="fp16" --save_precision="fp16" --save_model_as=$save_model_as --seed="1337" \
  --prior_loss_weight=1 --max_token_length=225 --caption_extension=".txt" ${extArgs[@]}
